"""Keeps as many replicas running as a satellite says: what ended is started anew, after a pause that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from libs.common.contracts.launches import EntryStatus, LaunchEntry, entry_id
from libs.common.contracts.replicas import (
    TERMINAL,
    ReplicaOrder,
    ReplicaReport,
    ReplicaSpec,
    ReplicaState,
    RouteReplica,
)
from libs.common.contracts.satellites import SatellitePlan
from libs.common.loops import Loop
from services.gateway.satellite.routes import Routes
from services.worker.replicas import Replicas

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
PROVEN_SECONDS = 60.0
"""One that served for so long has shown that it can run: the next one that ends is started at once."""


@dataclass
class Slot:
    """The place of one replica."""

    order: ReplicaOrder
    starts_at: float = 0.0
    ready_since: float | None = None
    failures: int = 0
    reason: str | None = None
    """Why the last one ended."""

    def ended(self, now: float, reason: str | None) -> None:
        """A new one takes the place, later."""
        if self.ready_since is not None and now - self.ready_since >= PROVEN_SECONDS:
            self.failures = 0
        pause = 0.0 if self.failures == 0 and self.ready_since is not None else _pause(self.failures)
        self.order = ReplicaOrder(spec=self.order.spec.model_copy(update={"id": uuid4()}))
        self.starts_at, self.ready_since = now + pause, None
        self.failures += 1
        self.reason = reason or "it ended"


@dataclass(frozen=True)
class Entry:
    """One entry of the satellite."""

    said: LaunchEntry
    route: UUID
    slots: Sequence[Slot]


class Supervisor:
    """Give `changed` to the node, then `attach` its replicas, and run `loop`.

    Args:
        routes: is told who takes calls.
        on_change: hears how many replicas of each entry are ready, whenever that changes.
    """

    def __init__(
        self,
        plan: SatellitePlan,
        routes: Routes,
        *,
        clock: Callable[[], float],
        on_change: Callable[[Sequence[EntryStatus]], None],
    ) -> None:
        self.entries = entries(plan)
        self._routes = routes
        self._clock = clock
        self._on_change = on_change
        self._replicas: Replicas | None = None
        self._told: Sequence[EntryStatus] = ()
        self.loop = Loop("satellite_replicas", self.once, every=FIRST_PAUSE_SECONDS)

    def changed(self) -> None:
        """A replica is in another state."""
        self.loop.wake()

    def attach(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def once(self) -> None:
        """See what ended, start what is due, and tell of what is ready."""
        assert self._replicas is not None  # noqa: S101 - it is attached before the loop runs
        orders = advance(self.entries, self._replicas.reports(), self._clock())
        self._replicas.apply({order.spec.id: order for order in orders})
        reports = {report.id: report for report in self._replicas.reports()}
        for entry in self.entries:
            ready = _ready(entry, reports)
            self._routes.set(entry.route, ready, failure=None if ready else _failure(entry))
        if (now := tuple(_status(entry, reports) for entry in self.entries)) != self._told:
            self._told = now
            self._on_change(now)


def entries(plan: SatellitePlan) -> tuple[Entry, ...]:
    """The entries of a plan, each with its places. The catalog of a plan has all that its entries name."""
    revisions = {revision.id: (one, revision) for one in plan.catalog for revision in one.revisions}
    return tuple(
        Entry(
            said,
            entry_id(plan.order.launch_id, said.vanity_url),
            [
                Slot(ReplicaOrder(spec=ReplicaSpec.of(*revisions[said.revision_id], uuid4(), must_load=True)))
                for _ in range(said.replicas)
            ],
        )
        for said in plan.order.entries
    )


def advance(all_entries: Iterable[Entry], reports: Iterable[ReplicaReport], now: float) -> list[ReplicaOrder]:
    """What should run now; places whose replica ended get another one, when its time has come."""
    known = {report.id: report for report in reports}
    orders = []
    for slot in (slot for entry in all_entries for slot in entry.slots):
        report = known.get(slot.order.spec.id)
        if report is not None and report.state in TERMINAL:
            slot.ended(now, report.reason)
        elif report is not None and report.state is ReplicaState.READY and slot.ready_since is None:
            slot.ready_since = now
        if slot.starts_at <= now:
            orders.append(slot.order)
    return orders


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 16))


def _ready(entry: Entry, reports: Mapping[UUID, ReplicaReport]) -> list[RouteReplica]:
    found = []
    for slot in entry.slots:
        report = reports.get(slot.order.spec.id)
        if report is not None and report.state is ReplicaState.READY and report.address is not None:
            found.append(RouteReplica(id=report.id, address=report.address, concurrency=slot.order.spec.concurrency))
    return found


def _failure(entry: Entry) -> str | None:
    return next((slot.reason for slot in entry.slots if slot.reason is not None), None)


def _status(entry: Entry, reports: Mapping[UUID, ReplicaReport]) -> EntryStatus:
    ready = len(_ready(entry, reports))
    return EntryStatus(
        vanity_url=entry.said.vanity_url,
        algorithm=entry.said.algorithm,
        desired=entry.said.replicas,
        ready=ready,
        starting=entry.said.replicas - ready,
        reason=None if ready == entry.said.replicas else _failure(entry),
    )
