"""Git processes that run at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.registry.git_slots import GitSlots


async def test_an_account_waits_for_its_own_share_and_others_do_not() -> None:
    slots = GitSlots(3, of_account=2)
    async with AsyncExitStack() as joes, AsyncExitStack() as others:
        for _ in range(2):
            await joes.enter_async_context(slots.of("joe"))
        third = asyncio.create_task(joes.enter_async_context(slots.of("joe")))
        await others.enter_async_context(slots.of("ann"))
        full = asyncio.create_task(others.enter_async_context(slots.of("eve")))
        await asyncio.sleep(0)
        assert (third.done(), full.done()) == (False, False)
        await joes.pop_all().aclose()
        await full
        await third


async def test_who_gives_up_takes_nothing_along() -> None:
    slots = GitSlots(1, of_account=1)
    async with slots.of("joe"):
        for name in ("joe", "ann"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), slots.of(name):
                    raise AssertionError
    for name in ("joe", "ann"):
        async with slots.of(name):
            pass
