"""A source of knowledge that is a file: a satellite's gateway asks nobody, and nobody needs to be there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import httpx

from libs.common import logs
from libs.common.connect.errors import ConnectFailed
from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.identity import IDENTITY_FEED
from libs.common.contracts.launches import LAUNCHED_FEED, entry_id
from libs.common.contracts.satellites import SatellitePlan
from libs.common.loops import Loop, running
from services.gateway import kept
from services.gateway.call_tokens import CallTokens
from services.gateway.callers import Callers
from services.gateway.calls import Calls, Record
from services.gateway.knowledge import Knowledge
from services.gateway.records import Records
from services.gateway.satellite import call_log, reports
from services.gateway.satellite import plan as plans
from services.gateway.satellite.files import WatchedFile
from services.gateway.satellite.mothership import Key, Mothership
from services.gateway.satellite.names import NamedReplicas
from services.gateway.satellite.reporter import Reporter, Standing
from services.gateway.satellite.routes import Routes
from services.gateway.satellite.spool import Spool, SpoolTaken
from services.gateway.settings import MIB, GatewaySettings
from services.gateway.tally import Gauges

log = logs.get(__name__)

LOOK_SECONDS = 1.0
"""From one look at the files to the next."""
TURN_SECONDS = 1.0
MOST_RECORDS = 2000
"""Records that are taken in one turn."""
SPOOL = "reports"


class Satellite:
    """A source of knowledge.

    Args:
        routes: replicas that somebody in this process knows of, besides those that `satellite_replicas` names.
        http: for reports to the platform.

    Raises:
        FileRefused: a file cannot be used.
    """

    launched_only = True

    def __init__(
        self, settings: GatewaySettings, routes: Routes | None, http: httpx.AsyncClient, knowledge: Knowledge
    ) -> None:
        assert settings.satellite_plan is not None  # noqa: S101 - that makes it a satellite's gateway
        self._settings = settings
        self._http = http
        self._knowledge = knowledge
        self._kept = kept.load(settings.data_dir)
        self._entries: plans.Entries = {}
        self._concurrency: dict[UUID, int] = {}
        self._counter = reports.Counter()
        self._dropped = 0
        """Lost records that were told of."""
        self.callers = Callers(knowledge.directory, None, self.confirm)
        self.records = Records(settings.record_backlog, lambda: self._kept.instance_id)
        self.gauges: Gauges = {
            **self.records.gauges,
            "constellation_reports_waiting": (
                "Reports that the platform has not taken.",
                lambda: self.reporter.waiting if self.reporter is not None else 0,
            ),
        }
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {}
        """None: it has its plan before it serves at all."""
        self.routes = routes or Routes()
        secret = settings.replica_secret
        self.names = NamedReplicas(
            self.routes,
            secret=secret.get_secret_value() if secret is not None else None,
            concurrency=lambda route: self._concurrency.get(route, 1),
        )
        self.files = [WatchedFile(settings.satellite_plan, self.take)]
        if settings.satellite_replicas is not None:
            self.files.append(WatchedFile(settings.satellite_replicas, self.names.take))
        self._plan: SatellitePlan | None = None
        self.reporter: Reporter | None = None
        for file in self.files:
            file.load()

    @property
    def plan(self) -> SatellitePlan:
        """That is served."""
        assert self._plan is not None  # noqa: S101 - the first one was taken when this was made
        return self._plan

    def take(self, document: bytes) -> None:
        """Serve this plan from now on. Raises PlanRefused; then the one before is served."""
        new = plans.read(document, self._plan)
        known = self._knowledge
        apply = {
            IDENTITY_FEED: known.directory.apply,
            CATALOG_FEED: known.table.apply,
            LAUNCHED_FEED: known.launches.apply,
        }
        entries, order = plans.entries(new), new.order
        for feed, key, body in plans.changes(self._entries, entries):
            apply[feed](key, body)
        self._entries, self._plan = entries, new
        scaling = {entry.id: entry.scaling for entry in new.catalog}
        self._concurrency = {
            entry_id(order.launch_id, one.vanity_url): scaling[one.algorithm_id].concurrency for one in order.entries
        }
        self._counter.know(one.vanity_url for one in order.entries)
        log.info("serving_satellite", satellite=order.satellite, version=order.satellite_version, launch=order.name)

    def record(self, record: Record) -> None:
        reference, seconds, kind = record[5], record[6], record[8]
        self._counter.count(reference, seconds, failed=kind is not None)
        self.records.add(record)

    async def confirm(self) -> bool:
        """What is known is all there is."""
        return True

    def notice(self) -> None:
        """Who starts the replicas does so without being asked."""

    @asynccontextmanager
    async def running(self, calls: Calls) -> AsyncIterator[None]:  # noqa: ARG002 - the interface
        """Follow files and names, and report, while the context is open."""
        kept.save(self._settings.data_dir, self._kept)
        secret = self._settings.call_token_secret
        if secret is not None:
            self.callers.tokens = CallTokens(secret.get_secret_value())
        else:
            log.warning("no_call_token_secret", consequence="algorithms cannot call for their callers")
        self.routes.follow(self._knowledge.pools.apply)
        await self.names.once()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.names.close)
            self.reporter = await self._reporter()
            if self.reporter is not None:
                await stack.enter_async_context(self.reporter.running())
            stack.push_async_callback(self._last_turns)
            loops = (
                Loop("satellite_files", self._look, every=LOOK_SECONDS),
                self.names.loop,
                Loop("satellite_calls", self._turn, every=TURN_SECONDS),
            )
            await stack.enter_async_context(running(*loops))
            yield

    def standing(self) -> Standing:
        """What is served, and how it is doing."""
        order = self.plan.order
        routes = {one.vanity_url: entry_id(order.launch_id, one.vanity_url) for one in order.entries}
        found = {vanity: self.routes.of(route) for vanity, route in routes.items()}
        reasons = {
            vanity: self.names.failures[route] for vanity, route in routes.items() if route in self.names.failures
        }
        return order, reports.statuses(order, found, reasons)

    async def _look(self) -> None:
        for file in self.files:
            await file.look()

    async def _turn(self) -> None:
        """Pass on what was counted and recorded since the last time."""
        usage, records = self._counter.take(), self.records.take(MOST_RECORDS)
        call_log.write(records)
        dropped = self.records.dropped - self._dropped
        self._dropped += dropped
        if self.reporter is not None:
            await self.reporter.add(usage, records, dropped=dropped)

    async def _last_turns(self) -> None:
        await self._turn()
        while self.records.waiting:
            await self._turn()

    async def _reporter(self) -> Reporter | None:
        """Who reports; None when there is nowhere to, or no way to, which the log says."""
        settings, plan = self._settings, self.plan
        url, token, file = settings.mothership or plan.mothership, settings.report_token, settings.report_token_file
        if url is None or (token is None and file is None):
            log.info("no_reports", reason="no platform to report to is named" if url is None else "no key for them")
            return None
        spool = Spool(settings.data_dir / SPOOL, settings.report_spool_mib * MIB)
        try:
            key = Key(token.get_secret_value() if token is not None else None, file)
            mothership = Mothership(self._http, url, key, plan.order.launch_id, insecure=settings.report_insecure)
            await asyncio.to_thread(spool.open)
        except (ConnectFailed, SpoolTaken, OSError) as error:
            log.error("no_reports", reason=str(error))  # noqa: TRY400 - the reason is all there is
            return None
        return Reporter(
            spool,
            mothership,
            instance=self._kept.instance_id,
            standing=self.standing,
            every=settings.report_seconds,
            heartbeat=settings.report_heartbeat_seconds,
        )
