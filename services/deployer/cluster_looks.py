"""Looks at launches in clusters that are under way: each launch once, and no cluster waits for another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import asynccontextmanager
from uuid import UUID

from libs.common import logs

log = logs.get(__name__)

MAX_AT_ONCE = 8
"""Looks at launches of the same clusters. One that does not answer keeps each for as long as its deadline."""


class ClusterLooks:
    """Begins looks, and knows which have not ended.

    Args:
        look: looks at a launch, once.
        ended: told of each launch that was looked at.
    """

    def __init__(self, look: Callable[[UUID], Awaitable[None]], ended: Callable[[UUID], None]) -> None:
        self._look = look
        self._ended = ended
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._room: defaultdict[frozenset[str], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_AT_ONCE)
        )

    @property
    def under_way(self) -> Set[UUID]:
        return self._tasks.keys()

    def begin(self, launch_id: UUID, clusters: frozenset[str]) -> None:
        """Look at a launch that has something in these clusters, unless that is under way."""
        if launch_id not in self._tasks:
            task = asyncio.create_task(self._begin(launch_id, self._room[clusters]))
            self._tasks[launch_id] = task
            task.add_done_callback(lambda _: self._end(launch_id))

    async def settled(self) -> None:
        """All that have begun have ended. They end early when this is cancelled."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """None is under way any more when the context is left."""
        try:
            yield
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self.settled()

    async def _begin(self, launch_id: UUID, room: asyncio.Semaphore) -> None:
        try:
            async with room:
                await self._look(launch_id)
        except Exception:  # rows could not be read or written; it is due again
            log.warning("launch_not_looked_at", launch_id=str(launch_id), exc_info=True)

    def _end(self, launch_id: UUID) -> None:
        del self._tasks[launch_id]
        self._ended(launch_id)
