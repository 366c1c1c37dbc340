"""The parts of one gateway, put together, and how they live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from libs.common import logs
from libs.common.auth import Authenticator, TokenVerifier
from libs.common.bus import Bus
from libs.common.clients.deployer import DeployerClient
from libs.common.clients.fakts import FaktsClient
from libs.common.clients.feeds import FeedClient
from libs.common.contracts.applications import APPLICATIONS_FEED
from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.identity import IDENTITY_FEED
from libs.common.contracts.launches import LAUNCHED_FEED
from libs.common.contracts.replicas import ROUTES_FEED
from libs.common.directory import Directory
from libs.common.feed import FeedFollower
from libs.common.loops import Loop, running, tasks
from libs.common.problems import Unavailable
from services.gateway.admission import Admissions
from services.gateway.applications import Applications
from services.gateway.callers import Callers
from services.gateway.calls import Calls
from services.gateway.clock import Clock
from services.gateway.confirmation import Confirmation
from services.gateway.data.hosted import HostedData
from services.gateway.data.visitors import Visitors
from services.gateway.demand import DemandReporter
from services.gateway.edge import Edge
from services.gateway.entry import Entry, announce
from services.gateway.launched import Launches
from services.gateway.pool import Pools
from services.gateway.protocol import GatewayProtocol
from services.gateway.records import Records
from services.gateway.settings import GatewaySettings
from services.gateway.table import Table
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
    """Made inside the event loop that it lives in.

    Args:
        http: for questions to the other services; not used on the way of a call.
    """

    def __init__(self, settings: GatewaySettings, http: httpx.AsyncClient) -> None:
        self._http = http
        self.clock = Clock()
        self._background = Background()
        self._sweeps = 0
        self._drained_by: float | None = None
        self.settings = settings
        self.clients: set[GatewayProtocol] = set()
        self.entry = Entry(http, settings)
        member = self.entry.member
        self.pools = Pools(
            clock=self.clock,
            spawn=self._background.spawn,
            notice=self._notice,
            queue_limit=settings.queue_limit,
            connect_seconds=settings.connect_seconds,
            start_patience=settings.start_patience_seconds,
        )
        self.table = Table(self.pools)
        self.launches = Launches(self.pools, self.table)
        self.applications = Applications(self.pools, self.table)
        self.directory = Directory()
        self.identity = self._follower("fakts", IDENTITY_FEED, self.directory.apply)
        self.catalog = self._follower("registry", CATALOG_FEED, self.table.apply)
        self.routes = self._follower("deployer", ROUTES_FEED, self.pools.apply)
        self.launched = self._follower("deployer", LAUNCHED_FEED, self.launches.apply)
        self.applied = self._follower("registry", APPLICATIONS_FEED, self.applications.apply)
        self._followers = (self.identity, self.catalog, self.routes, self.launched, self.applied)
        confirm_identity, confirm_catalog = Confirmation(self.identity), Confirmation(self.catalog)
        confirm_launched, confirm_applied = Confirmation(self.launched), Confirmation(self.applied)

        async def confirm_names() -> bool:
            catalog, *_ = await asyncio.gather(confirm_catalog(), confirm_launched(), confirm_applied())
            return catalog

        self.authenticator = Authenticator(
            TokenVerifier(self.entry.jwks),
            self.directory,
            refresh=confirm_identity,
            exchange=FaktsClient(http, member).exchange_token,
        )
        self.callers = Callers(self.directory, self.authenticator, confirm_identity)
        self.records = Records(settings.record_backlog, self.entry.instance_id)
        self.calls = Calls(
            settings,
            self.callers,
            Admissions(
                self.callers, self.table, self.launches, self.applications, confirm=confirm_names, clock=self.clock
            ),
            clock=self.clock,
            spawn=self._background.spawn,
            record=self.records.add,
        )
        self.visitors = Visitors(self.callers, self.table)
        self.data = HostedData(settings, self.calls)
        self.demand = DemandReporter(self.pools, DeployerClient(http, member).report_demand, self.entry.instance_id)
        self.edge = Edge(
            member,
            {"fakts": confirm_identity, "registry": confirm_catalog, "deployer": Confirmation(self.routes)},
            connect_seconds=settings.connect_seconds,
            trust_forwarded=settings.trust_forwarded,
        )
        self.sweeping = Loop("sweep", self._sweep, every=SWEEP_SECONDS)
        """Ends what has taken too long: one look at all instead of a timer for each."""
        self.collector = TallyCollector(
            self.calls.tally,
            {
                "constellation_calls_under_way": ("Calls that wait or run.", lambda: len(self.calls.under_way)),
                "constellation_clients": ("Connections of clients.", lambda: len(self.clients)),
                "constellation_call_records_waiting": ("Records to announce.", lambda: self.records.waiting),
                "constellation_call_records_dropped": (
                    "Records lost for want of room.",
                    lambda: self.records.dropped,
                ),
            },
        )

    @asynccontextmanager
    async def running(self, bus: Bus | None) -> AsyncIterator[None]:
        """Join, follow, serve; at the end let calls finish, then leave.

        A gateway that knows accounts and algorithms from before serves at once and joins beside that.

        Raises:
            JoinRefused, httpx.HTTPError, TimeoutError: at a first start, when fakts does not let it in.
        """
        known = [follower.load() for follower in self._followers]
        if all(known[:2]):
            self.entry.use_kept(self.callers)
        else:
            await self.entry.join(self.callers)
        try:
            async with (
                tasks(
                    self.entry.stay(self.callers),
                    *(self._follow(follower) for follower in self._followers),
                    announce(self.entry, self.records, bus),
                    self.data.run(self.entry),
                ),
                running(self.sweeping, self.demand.loop),
            ):
                yield
                await self._drain()
        finally:
            for follower in self._followers:
                follower.save()
            self.pools.close()
            await self._background.close()
            await self.edge.close()
            if self.entry.inside.is_set():
                await self.entry.member.leave()

    def stopping(self) -> None:
        """The server takes no further requests."""
        self._drained_by = self.clock.tick() + self.settings.drain_seconds

    async def check_feeds(self) -> None:
        """Raises RuntimeError while accounts or algorithms are not known here."""
        for follower in (self.identity, self.catalog):
            if not follower.ready.is_set():
                raise RuntimeError(f"the feed '{follower.name}' has not arrived yet")

    def _follower(self, service: str, feed: str, apply: Callable[[str, dict[str, Any] | None], None]) -> FeedFollower:
        client = FeedClient(self._http, self.entry.member, service, feed)
        return FeedFollower(feed, client.fetch, apply, snapshot=self.settings.data_dir / "feeds" / f"{feed}.json")

    async def _follow(self, follower: FeedFollower) -> None:
        await self.entry.inside.wait()
        await follower.run()

    def _notice(self) -> None:
        self.demand.loop.wake()

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
