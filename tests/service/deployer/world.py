"""A world around the deployer: real rows, a scripted catalog and scripted workers, and a clock that a test turns.

Workers do what a worker does: they report all they have, then become what their orders say. What their replicas
serve is their own knowledge, so a test compares what runs with what the rows believe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus, MemoryBus
from libs.common.contracts.catalog import (
    Artifact,
    Callability,
    CatalogEntry,
    Language,
    Revision,
    Scaling,
)
from libs.common.contracts.replicas import (
    ROUTES_FEED,
    Address,
    Capacity,
    Demand,
    DemandReport,
    ReplicaReport,
    ReplicaSpec,
    ReplicaState,
    Route,
    WorkerOrders,
    WorkerReport,
)
from libs.common.db import Database
from libs.common.feed import FeedPublisher
from services.deployer import demand
from services.deployer.catalog import Catalog
from services.deployer.hints import Hints
from services.deployer.launch_orders import LaunchOrders
from services.deployer.launches import Launches
from services.deployer.loops import Reconciler
from services.deployer.models import Deployment, Event, FeedEntry, FeedVersion, Replica
from services.deployer.reports import Reports
from services.deployer.routes import Routes
from services.deployer.states import LIVE

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=15)
GRACE = timedelta(seconds=5)
DEMAND_SECONDS = 5.0
HISTORY = ("deployer", "services.deployer.migrations")


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    async def moment(self, _: AsyncSession) -> datetime:
        """As that of the database."""
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def entry(
    *,
    revisions: int = 1,
    algorithm_id: UUID | None = None,
    secrets_version: int = 0,
    language: Language = Language.PYTHON,
    published: bool = True,
    **scaling: Any,
) -> CatalogEntry:
    """An algorithm with so many revisions, each of its own version."""
    algorithm_id = algorithm_id or uuid4()
    return CatalogEntry(
        id=algorithm_id,
        owner="joe",
        name="echo",
        secrets_version=secrets_version,
        scaling=Scaling.model_validate({"memory_mib": 100, **scaling}),
        revisions=tuple(
            Revision(
                id=uuid4(),
                commit=f"{number:040x}",
                version=f"1.0.{number}" if published else None,
                callability=Callability.PUBLIC,
                language=language,
                artifact=Artifact(source="s" * 64, digest="d" * 64),
                built_at=START,
            )
            for number in range(revisions)
        ),
    )


@dataclass
class Copy:
    """How far the catalog's copy is."""

    complete: bool = True
    epoch: str = "one"
    version: int = 0


@dataclass
class Local:
    """A replica on a worker."""

    spec: ReplicaSpec
    state: ReplicaState = ReplicaState.STARTING
    reason: str | None = None
    since: datetime = START


class ScriptedWorker:
    """A node's agent. `breaks` holds revisions whose replicas fail to start there."""

    def __init__(self, clock: Clock, name: str, *, memory_mib: int = 1000, slots: int = 10, gpus: int = 0) -> None:
        self.id = name
        self.labels: dict[str, str] = {}
        self.languages: tuple[Language, ...] = (Language.PYTHON,)
        self.memory_mib = memory_mib
        self.slots = slots
        self.gpus = gpus
        self.replicas: dict[UUID, Local] = {}
        self.breaks: dict[UUID, str] = {}
        self.slow = False
        """Replicas stay in STARTING."""
        self.holds_drains = False
        """A call is under way in each replica: what drains does not end."""
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """The agent's process is a new one. Its replicas go on."""
        self.run, self.sequence = uuid4().hex, 0

    def reboot(self) -> None:
        """The node is a new one: nothing runs there."""
        self.restart()
        self.replicas.clear()

    def serving(self) -> list[UUID]:
        """Revisions that really are served here, once for each replica."""
        return [
            one.spec.revision_id
            for one in self.replicas.values()
            if one.state in (ReplicaState.STARTING, ReplicaState.READY)
        ]

    def report(self) -> WorkerReport:
        self.sequence += 1
        return WorkerReport(
            name=f"node {self.id}",
            version="1",
            labels=self.labels,
            languages=self.languages,
            capacity=Capacity(cpus=4, memory_mib=self.memory_mib, gpus=self.gpus, replicas=self.slots),
            run=self.run,
            sequence=self.sequence,
            replicas=tuple(
                ReplicaReport(
                    id=key,
                    state=one.state,
                    reason=one.reason,
                    since=one.since,
                    address=Address(host_id=self.id, host="127.0.0.1", port=9000, token="secret-token"),
                )
                for key, one in self.replicas.items()
            ),
        )

    def obey(self, orders: WorkerOrders) -> None:
        """Become what the orders say, one step for each replica."""
        wanted = {order.spec.id: order for order in orders.replicas}
        for key in [key for key in self.replicas if key not in wanted]:
            del self.replicas[key]
        for key, order in wanted.items():
            known = self.replicas.get(key)
            if known is None:
                self.replicas[key] = Local(order.spec, since=self._clock.now)
            elif order.drain or known.state is ReplicaState.DRAINING:
                self._drain(known)
            elif known.state is ReplicaState.STARTING:
                self._start(known)

    def _start(self, known: Local) -> None:
        known.reason = self.breaks.get(known.spec.revision_id)
        if known.reason is not None:
            known.state = ReplicaState.FAILED
        elif not self.slow:
            known.state = ReplicaState.READY

    def _drain(self, known: Local) -> None:
        if known.state is ReplicaState.READY:
            known.state = ReplicaState.DRAINING
        elif not self.holds_drains and known.state is not ReplicaState.FAILED:
            known.state = ReplicaState.STOPPED


@dataclass
class Deployer:
    """One process of the deployer."""

    database: Database
    bus: Bus
    clock: Clock
    catalog: Catalog = field(default_factory=Catalog)
    copy: Copy = field(default_factory=Copy)
    learned: dict[UUID, CatalogEntry] = field(default_factory=dict)
    algorithms: dict[UUID, UUID] = field(default_factory=dict)
    """What gateways know: the algorithm of each revision."""

    def __post_init__(self) -> None:
        self.feeds = FeedPublisher(self.database, FeedVersion, FeedEntry)
        routes = Routes(self.feeds, grace=GRACE)
        self.orders = LaunchOrders()
        self.launches = Launches(self.orders, self.catalog, self.feeds)
        self.reconciler = Reconciler(
            self.database,
            self.catalog,
            self.copy,
            routes,
            Hints(self.bus),
            self.launches,
            self.orders,
            lease=LEASE,
            clock=self.clock.moment,
        )
        self.reports = Reports(routes, lease=LEASE, wake=self.reconciler.loop.wake)

    def learn(self, *entries: CatalogEntry) -> None:
        for one in entries:
            self.copy.version += 1
            self.catalog.apply(str(one.id), one.model_dump(mode="json"))
            self.learned[one.id] = one
            self.algorithms.update({revision.id: one.id for revision in one.revisions})

    def unlearn(self, algorithm_id: UUID) -> None:
        self.copy.version += 1
        self.catalog.apply(str(algorithm_id), None)

    async def reconcile(self) -> None:
        await self.reconciler.once()

    async def take_report(self, worker: ScriptedWorker) -> None:
        """A worker reports, and obeys the answer."""
        worker.obey(await self.answer(worker, worker.report()))

    async def answer(self, worker: ScriptedWorker, report: WorkerReport) -> WorkerOrders:
        async with self.database.transaction() as session:
            return await self.reports.take(session, worker.id, report, self.clock.now)

    async def call(self, calls: dict[UUID, int], *, gateway: str = "g") -> None:
        """A gateway's word: so many calls of these revisions."""
        word = DemandReport(
            gateway=gateway,
            demands=tuple(
                Demand(revision_id=revision, algorithm_id=self.algorithms[revision], in_flight=count, waiting=count)
                for revision, count in calls.items()
            ),
        )
        async with self.database.transaction() as session:
            await demand.report(
                session,
                word,
                now=self.clock.now,
                seconds=DEMAND_SECONDS,
                wake=self.reconciler.loop.wake,
            )

    # What the rows say

    async def deployment(self, revision_id: UUID) -> Deployment:
        async with self.database.transaction() as session:
            return await session.get_one(Deployment, revision_id)

    async def replicas(self, revision_id: UUID | None = None, *, live: bool = True) -> list[Replica]:
        query = select(Replica).order_by(Replica.created_at, Replica.id)
        if revision_id is not None:
            query = query.where(Replica.revision_id == revision_id)
        if live:
            query = query.where(Replica.state.in_(LIVE))
        async with self.database.transaction() as session:
            return list((await session.execute(query)).scalars())

    async def events(self, revision_id: UUID) -> list[str]:
        query = select(Event).where(Event.deployment_id == revision_id).order_by(Event.id)
        async with self.database.transaction() as session:
            return [f"{row.kind.value}: {row.message}" for row in (await session.execute(query)).scalars()]

    async def routes(self) -> dict[UUID, Route]:
        page = await self.feeds.page(ROUTES_FEED, since=0)
        return {
            UUID(change.key): Route.model_validate(change.body) for change in page.changes if change.body is not None
        }

    async def routed(self, revision_id: UUID) -> set[UUID]:
        """Replicas of a revision that take calls."""
        found = (await self.routes()).get(revision_id)
        return {one.id for one in found.replicas} if found is not None else set()


@dataclass
class World:
    """One deployer, its database, and workers."""

    deployer: Deployer
    workers: list[ScriptedWorker]
    clock: Clock
    calls: dict[UUID, int] = field(default_factory=dict)
    """Of the one gateway, each second."""

    def add_worker(self, name: str, **options: Any) -> ScriptedWorker:
        worker = ScriptedWorker(self.clock, name, **options)
        self.workers.append(worker)
        return worker

    async def step(self, seconds: float = 1.0, *, silent: Iterable[ScriptedWorker] = ()) -> None:
        """A second passes: the gateway speaks, the loop runs, every worker that is not silent reports."""
        self.clock.forward(seconds)
        await self.deployer.call(self.calls)
        await self.deployer.reconcile()
        for worker in self.workers:
            if worker not in silent:
                await self.deployer.take_report(worker)

    async def settle(self, steps: int = 8, *, silent: Iterable[ScriptedWorker] = ()) -> None:
        for _ in range(steps):
            await self.step(silent=silent)

    def serving(self) -> dict[UUID, int]:
        """What really runs: replicas by revision."""
        found: dict[UUID, int] = {}
        for worker in self.workers:
            for revision in worker.serving():
                found[revision] = found.get(revision, 0) + 1
        return found


@asynccontextmanager
async def deployer_on(url: str, clock: Clock, bus: Bus | None = None) -> AsyncIterator[Deployer]:
    """A process of the deployer on a migrated database."""
    database = Database(url, HISTORY[0])
    try:
        async with MemoryBus() as memory:
            yield Deployer(database, bus or memory, clock)
    finally:
        await database.close()
