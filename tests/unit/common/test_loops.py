from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from libs.common.loops import Loop, running, tasks
from tests.support.eventually import eventually

NEVER = 3600.0


class Work:
    """Counts its runs. `failing` makes them fail; `gate` holds them up while it is not set."""

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0
        self.at_once = 0
        self.most_at_once = 0
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> None:
        self.started += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            if self.failing:
                raise RuntimeError("not today")
        finally:
            self.at_once -= 1
            self.ended += 1


async def test_it_runs_at_once_and_then_on_its_timer() -> None:
    work = Work()
    async with running(Loop("timer", work, every=0.01)):
        await eventually(lambda: work.ended >= 3)


async def test_waking_makes_it_run_before_its_time() -> None:
    work = Work()
    loop = Loop("woken", work, every=NEVER)
    async with running(loop):
        await eventually(lambda: work.ended == 1)
        loop.wake()
        await eventually(lambda: work.ended == 2)


async def test_waking_during_a_run_makes_one_more_and_runs_never_overlap() -> None:
    work = Work()
    work.gate.clear()
    loop = Loop("busy", work, every=NEVER)
    async with running(loop):
        await eventually(lambda: work.started == 1)
        for _ in range(5):
            loop.wake()
        work.gate.set()
        await eventually(lambda: work.ended == 2)
        loop.wake()
        await eventually(lambda: work.ended == 3)
    assert work.most_at_once == 1
    assert work.started == 3


async def test_a_failure_is_counted_and_does_not_end_the_loop() -> None:
    work = Work()
    work.failing = True
    loop = Loop("failing", work, every=0.01, backoff_limit=0.01)
    async with running(loop):
        await eventually(lambda: loop.failures >= 3)
        assert loop.last_success is None
        work.failing = False
        await eventually(lambda: loop.last_success is not None)
        assert loop.failures == 0


async def test_a_failing_loop_tries_again_long_before_its_timer() -> None:
    work = Work()
    work.failing = True
    loop = Loop("patient", work, every=NEVER, backoff_limit=0.01)
    async with running(loop):
        await eventually(lambda: loop.failures >= 2)


async def test_leaving_ends_the_run_under_way() -> None:
    work = Work()
    work.gate.clear()
    async with running(Loop("left", work, every=NEVER)):
        await eventually(lambda: work.started == 1)
    assert work.ended == 1


async def test_tasks_live_as_long_as_their_context_and_one_that_fails_takes_no_other_with_it() -> None:
    ended: list[str] = []

    async def fails() -> None:
        raise RuntimeError("broken")

    async def stays() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stays")

    started = asyncio.all_tasks()
    async with tasks(fails(), stays()):
        await eventually(lambda: len(asyncio.all_tasks() - started) == 1)
        assert ended == []
    assert ended == ["stays"]
    assert asyncio.all_tasks() == started


@pytest.mark.parametrize("outcome", ["returns", "raises"])
async def test_the_context_ends_with_its_body_however_that_ends(outcome: str) -> None:
    work = Work()

    async def body(wait: Callable[[], Awaitable[object]]) -> None:
        async with running(Loop("body", work, every=0.01)):
            await wait()
            if outcome == "raises":
                raise ValueError(outcome)

    try:
        await body(lambda: eventually(lambda: work.ended > 0))
    except ValueError:
        assert outcome == "raises"
    after = work.started
    for _ in range(10):
        await asyncio.sleep(0)
    assert work.started == after
