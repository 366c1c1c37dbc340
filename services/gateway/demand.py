"""Telling the deployer which revisions are called: at once when a call finds no room, and each second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from libs.common.contracts.replicas import Demand, DemandReport
from libs.common.loops import Loop
from services.gateway.pool import Pools

EVERY_SECONDS = 1.0
PAUSE_SECONDS = 0.05


class DemandReporter:
    """Args:
    report: sends a report; raises when it does not arrive.
    gateway: this gateway's instance id, once it has joined.
    """

    def __init__(
        self, pools: Pools, report: Callable[[DemandReport], Awaitable[None]], gateway: Callable[[], str]
    ) -> None:
        self._pools = pools
        self._report = report
        self._gateway = gateway
        self._reported = False
        self._last = float("-inf")
        self.loop = Loop("demand", self.once, every=EVERY_SECONDS, backoff_limit=EVERY_SECONDS)

    async def once(self) -> None:
        """Report all demand there is. When there is none any more, that is reported once."""
        if not self._gateway() or not (self._pools.called or self._reported):
            return
        # Calls that find no room come in crowds; one report speaks for all of them.
        await asyncio.sleep(max(0.0, self._last + PAUSE_SECONDS - time.monotonic()))
        self._last = time.monotonic()
        demands = []
        for pool in tuple(self._pools.called):
            if pool.algorithm_id is not None:
                demands.append(
                    Demand(
                        revision_id=pool.revision_id,
                        algorithm_id=pool.algorithm_id,
                        in_flight=pool.peak,
                        waiting=len(pool.waiting),
                    )
                )
            pool.peak = pool.active
            pool.noticed = bool(pool.waiting)
            if not pool.active:
                self._pools.called.discard(pool)
        if not demands and not self._reported:  # the replicas of launches are not on demand
            return
        self._reported = bool(demands)
        await self._report(DemandReport(gateway=self._gateway(), demands=tuple(demands)))
