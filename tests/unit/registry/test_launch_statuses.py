"""How launches are doing, with a deployer that comes and goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

import structlog

from libs.common.contracts.launches import LaunchStatus
from libs.common.problems import Unavailable
from services.registry.launch_statuses import LaunchStatuses

LAUNCH = UUID(int=1)


async def test_that_no_deployer_answers_is_warned_of_when_it_begins_and_when_it_lasts() -> None:
    away, asked = True, 0

    async def ask(ids: Collection[UUID]) -> Mapping[UUID, LaunchStatus]:
        nonlocal asked
        asked += 1
        assert list(ids) == [LAUNCH]
        if away:
            raise Unavailable("deployer cannot be reached")
        return {}

    statuses = LaunchStatuses(ask)
    with structlog.testing.capture_logs() as logs:
        assert [await statuses([LAUNCH]) for _ in range(30)] == [None] * 30
        away = False
        assert await statuses([LAUNCH]) == {}
        away = True
        assert await statuses([LAUNCH]) is None
    warned = [(one["event"], one["failures"]) for one in logs if one["log_level"] == "warning"]
    assert warned == [("launches_not_known", 1), ("launches_not_known", 10), ("launches_not_known", 1)]
    assert asked == 32


async def test_nobody_is_asked_of_nothing() -> None:
    async def ask(ids: Collection[UUID]) -> Mapping[UUID, LaunchStatus]:
        raise AssertionError

    assert await LaunchStatuses(ask)([]) == {}
