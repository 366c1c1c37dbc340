"""What a worker does that another one can do as well, and that it drops when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from libs.common import problems


class UnderWay:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends = False

    def check(self) -> None:
        """Raises problems.Unavailable in a worker that ends: what comes now is for another one."""
        if self._ends:
            raise problems.Unavailable("this worker is about to end")

    async def run(self, work: Coroutine[None, None, None]) -> None:
        """Do it to its end, or until it is abandoned. Raises what it raises."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.cancelled():
            task.result()

    async def abandon(self) -> None:
        """Drop all and take no more: leases lapse, and other workers do it."""
        self._ends = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
