"""What clusters tell of changes: hints that a launch is to be looked at now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from uuid import UUID

from libs.common import logs
from services.deployer.clusters import Clusters, Place
from services.deployer.kubernetes.problems import ClusterError
from services.deployer.kubernetes.satellite import Unfit

log = logs.get(__name__)

MAX_FOLLOWED = 200
"""Launches that one process follows. Others are looked at as often as without."""
SETTLE_SECONDS = 0.3
"""Changes come in swarms."""


class ClusterWatch:
    """Follows launches in their clusters.

    Args:
        wake: called when there is something to look at.
    """

    def __init__(self, clusters: Clusters, wake: Callable[[], None]) -> None:
        self._clusters = clusters
        self._wake = wake
        self._tasks: dict[UUID, tuple[Place, asyncio.Task[None]]] = {}
        self._changed: set[UUID] = set()

    def follow(self, launch_id: UUID, place: Place) -> None:
        """Unless it is followed there. Who follows until the cluster does not answer is started anew by this."""
        known = self._tasks.get(launch_id)
        if known is not None and known[0].is_same(place) and not known[1].done():
            return
        self.forget(launch_id)
        if len(self._tasks) < MAX_FOLLOWED:
            self._tasks[launch_id] = (place, asyncio.create_task(self._follow(launch_id, place)))

    def forget(self, launch_id: UUID) -> None:
        known = self._tasks.pop(launch_id, None)
        if known is not None:
            known[1].cancel()

    @property
    def followed(self) -> Set[UUID]:
        return self._tasks.keys()

    def take_changed(self) -> set[UUID]:
        """Launches of which something changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nobody is followed any more when the context is left."""
        try:
            yield
        finally:
            tasks = [task for _, task in self._tasks.values()]
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, launch_id: UUID, place: Place) -> None:
        try:
            async with (
                self._clusters.manager(place) as manager,
                contextlib.aclosing(manager.changes(launch_id)) as changes,
            ):
                await anext(changes)  # which says that it begins
                async for _ in changes:
                    await asyncio.sleep(SETTLE_SECONDS)
                    self._changed.add(launch_id)
                    self._wake()
        except (ClusterError, Unfit) as error:
            log.info("cluster_not_followed", launch_id=str(launch_id), place=place.words, reason=str(error))
