"""How launches are doing, as deployers say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from libs.common import logs
from libs.common.contracts.launches import LaunchStatus
from libs.common.problems import Unavailable

log = logs.get(__name__)

Statuses = Mapping[UUID, LaunchStatus] | None
"""What deployers say of launches, by id; None when none of them answered."""


class LaunchStatuses:
    """Args:
    ask: asks a deployer; raises Unavailable when none answers.
    """

    def __init__(self, ask: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, LaunchStatus]]]) -> None:
        self._ask = ask
        self._failures = 0

    async def __call__(self, ids: Collection[UUID]) -> Statuses:
        """By id; None when no deployer answers, which is logged when it begins, and again when it lasts."""
        if not ids:
            return {}
        try:
            found = await self._ask(ids)
        except Unavailable as fault:
            self._failures += 1
            level = log.warning if self._failures in (1, 10) else log.debug
            level("launches_not_known", reason=fault.detail, failures=self._failures)
            return None
        self._failures = 0
        return found
