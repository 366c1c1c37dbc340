"""The parts of one gateway, put together, and how they live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from libs.common import logs
from libs.common.loops import Loop, running
from libs.common.problems import Unavailable
from services.gateway.admission import Admissions
from services.gateway.calls import Calls
from services.gateway.clock import Clock
from services.gateway.knowledge import Knowledge, Source
from services.gateway.pool import Pools
from services.gateway.protocol import GatewayProtocol
from services.gateway.settings import GatewaySettings
from services.gateway.tally import TallyCollector

log = logs.get(__name__)

SWEEP_SECONDS = 0.1
_CLIENTS_EVERY = 5
"""Sweeps from one look at the clients' connections to the next."""


class Background:
    """Tasks that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_died", exc_info=error)


class Gateway:
    """Takes calls, by what its source tells. Made inside the event loop that it lives in.

    Args:
        source: makes the source, of what it is to tell.
    """

    def __init__(self, settings: GatewaySettings, source: Callable[[Knowledge], Source]) -> None:
        self.clock = Clock()
        self._background = Background()
        self._sweeps = 0
        self._drained_by: float | None = None
        self.settings = settings
        self.clients: set[GatewayProtocol] = set()
        self.pools = Pools(
            clock=self.clock,
            spawn=self._background.spawn,
            notice=self._notice,
            queue_limit=settings.queue_limit,
            connect_seconds=settings.connect_seconds,
            start_patience=settings.start_patience_seconds,
        )
        known = Knowledge(self.pools)
        self.table, self.launches, self.directory = known.table, known.launches, known.directory
        self.applications = known.applications
        self.source = source(known)
        self.callers = self.source.callers
        self.calls = Calls(
            settings,
            self.callers,
            Admissions(
                self.callers,
                self.table,
                self.launches,
                self.applications,
                confirm=self.source.confirm,
                clock=self.clock,
                launched_only=self.source.launched_only,
            ),
            clock=self.clock,
            spawn=self._background.spawn,
            record=self.source.record,
        )
        self.sweeping = Loop("sweep", self._sweep, every=SWEEP_SECONDS)
        """Ends what has taken too long: one look at all instead of a timer for each."""
        self.collector = TallyCollector(
            self.calls.tally,
            {
                "constellation_calls_under_way": ("Calls that wait or run.", lambda: len(self.calls.under_way)),
                "constellation_clients": ("Connections of clients.", lambda: len(self.clients)),
                **self.source.gauges,
            },
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the context is open; at the end let calls finish.

        Raises: what the source raises when it cannot begin.
        """
        try:
            async with self.source.running(self.calls), running(self.sweeping):
                yield
                await self._drain()
        finally:
            self.pools.close()
            await self._background.close()

    def stopping(self) -> None:
        """The server takes no further requests."""
        self._drained_by = self.clock.tick() + self.settings.drain_seconds

    def _notice(self) -> None:
        self.source.notice()

    async def _drain(self) -> None:
        """Let calls finish. The server does not see those whose client was answered when they began."""
        end = self._drained_by or self.clock.tick() + self.settings.drain_seconds
        while self.calls.under_way and self.clock.tick() < end:  # noqa: ASYNC110 - an event would cost each call
            await asyncio.sleep(SWEEP_SECONDS)
        for call in tuple(self.calls.under_way):
            call.fail(Unavailable("this gateway stops; the call may have run"))

    async def _sweep(self) -> None:
        now = self.clock.tick()
        self.calls.sweep(now)
        self.pools.sweep(now)
        self._sweeps += 1
        if self._sweeps % _CLIENTS_EVERY == 0:
            for client in [client for client in self.clients if client.is_late(now)]:
                client.sweep()
