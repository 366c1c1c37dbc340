"""A gateway of the platform: it joins by Fakts, follows the feeds, and is the one address of all services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

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
from libs.common.feed import FeedFollower
from libs.common.loops import running, tasks
from services.gateway.callers import Callers
from services.gateway.calls import Calls
from services.gateway.confirmation import Confirmation
from services.gateway.data.hosted import HostedData
from services.gateway.data.visitors import Visitors
from services.gateway.demand import DemandReporter
from services.gateway.edge import Edge
from services.gateway.entry import Entry, announce
from services.gateway.knowledge import Knowledge
from services.gateway.records import Records
from services.gateway.settings import GatewaySettings


class Platform:
    """A source of knowledge.

    Args:
        bus: the bus to announce records of calls on; None opens the one that fakts names.
        http: for questions to the other services; not used on the way of a call.
    """

    launched_only = False

    def __init__(
        self, settings: GatewaySettings, bus: Bus | None, http: httpx.AsyncClient, knowledge: Knowledge
    ) -> None:
        self.settings = settings
        self.directory = knowledge.directory
        self._bus = bus
        self._http = http
        self.entry = Entry(http, settings)
        member = self.entry.member
        self.identity = self._follower("fakts", IDENTITY_FEED, knowledge.directory.apply)
        self.catalog = self._follower("registry", CATALOG_FEED, knowledge.table.apply)
        self.routes = self._follower("deployer", ROUTES_FEED, knowledge.pools.apply)
        self.launched = self._follower("deployer", LAUNCHED_FEED, knowledge.launches.apply)
        self.applications = self._follower("registry", APPLICATIONS_FEED, knowledge.applications.apply)
        self._followers = (self.identity, self.catalog, self.routes, self.launched, self.applications)
        confirm_identity = Confirmation(self.identity)
        self._confirm_catalog, self._confirm_launched = Confirmation(self.catalog), Confirmation(self.launched)
        self._confirm_applications = Confirmation(self.applications)
        self.authenticator = Authenticator(
            TokenVerifier(self.entry.jwks),
            knowledge.directory,
            refresh=confirm_identity,
            exchange=FaktsClient(http, member).exchange_token,
        )
        self.callers = Callers(knowledge.directory, self.authenticator, confirm_identity)
        self.records = Records(settings.record_backlog, self.entry.instance_id)
        self.record = self.records.add
        self.gauges = self.records.gauges
        self.visitors = Visitors(self.callers, knowledge.table)
        self.data = HostedData(settings)
        self.demand = DemandReporter(
            knowledge.pools, DeployerClient(http, member).report_demand, self.entry.instance_id
        )
        self.edge = Edge(
            member,
            {
                "fakts": confirm_identity,
                "registry": self._confirm_catalog,
                "deployer": Confirmation(self.routes),
            },
            connect_seconds=settings.connect_seconds,
            trust_forwarded=settings.trust_forwarded,
        )
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {
            "joined": self.entry.check,
            "feeds": self._check_feeds,
        }

    async def confirm(self) -> bool:
        """Catch up with what can be called; False when the catalog does not answer."""
        catalog, *_ = await asyncio.gather(
            self._confirm_catalog(), self._confirm_launched(), self._confirm_applications()
        )
        return catalog

    def notice(self) -> None:
        self.demand.loop.wake()

    @asynccontextmanager
    async def running(self, calls: Calls) -> AsyncIterator[None]:
        """Join and follow while the context is open, then leave.

        A gateway that knows accounts and algorithms from before does not wait until it has joined.

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
                    announce(self.entry, self.records, self._bus),
                    self.data.run(self.entry, calls),
                ),
                running(self.demand.loop),
            ):
                yield
        finally:
            for follower in self._followers:
                follower.save()
            await self.edge.close()
            if self.entry.inside.is_set():
                await self.entry.member.leave()

    async def _check_feeds(self) -> None:
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
