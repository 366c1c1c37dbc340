"""Orders that may be on their way from the registry, which answered them a moment ago."""

from __future__ import annotations

import asyncio

from libs.common.feed import FeedFollower
from services.deployer.cluster_launches import ClusterLaunches
from services.deployer.loops import Reconciler


class Arrivals:
    """Fetches orders and writes them down, once for all that wait.

    Each caller waits for a round that began after it came, so that it finds all that was ordered before.
    """

    def __init__(self, orders: FeedFollower, reconciler: Reconciler, in_clusters: ClusterLaunches) -> None:
        self._orders = orders
        self._reconciler = reconciler
        self._in_clusters = in_clusters
        self._next: asyncio.Task[None] | None = None
        """The round that has not begun yet."""
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Raises what the database raises. A registry that does not answer has ordered nothing that is known."""
        if self._next is None:
            self._next = asyncio.create_task(self._round())
        await asyncio.shield(self._next)

    async def _round(self) -> None:
        async with self._turn:
            self._next = None
            await self._orders.refresh()
            await self._reconciler.once()
            await self._in_clusters.take_up()
