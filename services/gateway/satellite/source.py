"""A source of knowledge that is a file: a satellite's gateway asks nobody, and nobody needs to be there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from libs.common import logs
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
from services.gateway.satellite import call_log
from services.gateway.satellite import plan as plans
from services.gateway.satellite.files import WatchedFile
from services.gateway.satellite.names import NamedReplicas
from services.gateway.satellite.routes import Routes
from services.gateway.settings import GatewaySettings

log = logs.get(__name__)

LOOK_SECONDS = 1.0
"""From one look at the files to the next."""
RECORD_SECONDS = 1.0
MOST_RECORDS = 2000
"""Records that are taken in one turn."""


class Satellite:
    """A source of knowledge.

    Args:
        routes: replicas that somebody in this process knows of, besides those that `satellite_replicas` names.

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
        self.plan: SatellitePlan | None = None
        self.callers = Callers(knowledge.directory, None, self.confirm)
        self.records = Records(settings.record_backlog, lambda: self._kept.instance_id)
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = {}
        """None: it has its plan before it serves at all."""
        self.routes = routes or Routes()
        token = settings.replica_token
        self.names = NamedReplicas(
            self.routes,
            token=token.get_secret_value() if token is not None else None,
            concurrency=lambda route: self._concurrency.get(route, 1),
        )
        self.files = [WatchedFile(settings.satellite_plan, self.take)]
        if settings.satellite_replicas is not None:
            self.files.append(WatchedFile(settings.satellite_replicas, self.names.take))
        for file in self.files:
            file.load()

    def take(self, document: bytes) -> None:
        """Serve this plan from now on. Raises PlanRefused; then the one before is served."""
        new = plans.read(document, self.plan)
        known = self._knowledge
        apply = {
            IDENTITY_FEED: known.directory.apply,
            CATALOG_FEED: known.table.apply,
            LAUNCHED_FEED: known.launches.apply,
        }
        entries = plans.entries(new)
        for feed, key, body in plans.changes(self._entries, entries):
            apply[feed](key, body)
        self._entries, self.plan = entries, new
        scaling = {entry.id: entry.scaling for entry in new.catalog}
        self._concurrency = {
            entry_id(new.order.launch_id, one.vanity_url): scaling[one.algorithm_id].concurrency
            for one in new.order.entries
        }
        order = new.order
        log.info("serving_satellite", satellite=order.satellite, version=order.satellite_version, launch=order.name)

    def record(self, record: Record) -> None:
        self.records.add(record)

    async def confirm(self) -> bool:
        """What is known is all there is."""
        return True

    def notice(self) -> None:
        """Who starts the replicas does so without being asked."""

    @asynccontextmanager
    async def running(self, calls: Calls) -> AsyncIterator[None]:  # noqa: ARG002 - the interface
        """Follow the files and names while the context is open."""
        kept.save(self._settings.data_dir, self._kept)
        secret = self._settings.call_token_secret
        if secret is not None:
            self.callers.tokens = CallTokens(secret.get_secret_value())
        else:
            log.warning("no_call_token_secret", consequence="algorithms cannot call for their callers")
        self.routes.follow(self._knowledge.pools.apply)
        await self.names.once()
        try:
            async with running(
                Loop("satellite_files", self._look, every=LOOK_SECONDS),
                self.names.loop,
                Loop("satellite_records", self._log_calls, every=RECORD_SECONDS),
            ):
                yield
        finally:
            await self.names.close()
            await self._log_calls()

    async def _look(self) -> None:
        for file in self.files:
            await file.look()

    async def _log_calls(self) -> None:
        call_log.write(self.records.take(MOST_RECORDS))
