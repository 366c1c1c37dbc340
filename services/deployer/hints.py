"""Waking workers over the bus. A hint that is lost costs time: the worker's next report brings the orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.common import logs
from libs.common.bus import Bus
from libs.common.contracts.jobs import OrdersChanged, worker_queue

log = logs.get(__name__)

SEND_SECONDS = 1.0


class Hints:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(self, changed: Mapping[str, Sequence[UUID]]) -> None:
        """Tell each worker that its orders changed. Never fails; takes a second at most."""
        await asyncio.gather(*(self._tell(worker_id, ids) for worker_id, ids in changed.items()))

    async def forget(self, worker_id: str) -> None:
        """The worker is no more: nobody will read its queue. Never fails."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._bus.drop(worker_queue(worker_id))
        except Exception as error:  # whatever the bus has: an unread queue does no harm
            log.warning("queue_not_dropped", worker_id=worker_id, reason=repr(error))

    async def _tell(self, worker_id: str, replica_ids: Sequence[UUID]) -> None:
        message = OrdersChanged(worker_id=worker_id, replica_ids=tuple(replica_ids))
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._bus.send(worker_queue(worker_id), message)
        except Exception as error:  # whatever the bus has: rows are truth
            log.warning("orders_not_hinted", worker_id=worker_id, reason=repr(error))
