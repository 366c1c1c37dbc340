"""What the planner sees, and what it says. Pure data; times are aware."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState


@dataclass(frozen=True, slots=True)
class Room:
    """What replicas take up on a worker, or what there is for them."""

    slots: int = 0
    """Replicas."""
    memory_mib: int = 0
    millicpus: int = 0
    """Thousandths of a processor, whose sums are exact."""
    gpus: int = 0

    def __add__(self, other: Room) -> Room:
        return Room(*(mine + theirs for mine, theirs in zip(_amounts(self), _amounts(other), strict=True)))

    def __sub__(self, other: Room) -> Room:
        return Room(*(mine - theirs for mine, theirs in zip(_amounts(self), _amounts(other), strict=True)))

    def holds(self, other: Room) -> bool:
        """Is there as much of each as the other takes? What it does not take it does not miss."""
        pairs = zip(_amounts(self), _amounts(other), strict=True)
        return all(mine >= theirs for mine, theirs in pairs if theirs > 0)

    def fullness(self, capacity: Room, taken: Room) -> float:
        """Of what a replica takes up, and of which this much is free: the largest share that is gone, 0 to 1."""
        kinds = zip(_amounts(self), _amounts(capacity), _amounts(taken), strict=True)
        return max((1 - free / total for free, total, each in kinds if total > 0 and each > 0), default=0.0)


def _amounts(room: Room) -> tuple[int, int, int, int]:
    return room.slots, room.memory_mib, room.millicpus, room.gpus


def millicpus(cpus: float) -> int:
    """Processors, as `Room` counts them."""
    return round(cpus * 1000)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the catalog says of a deployment's replicas."""

    language: Language
    room: Room
    """That one replica takes up."""
    concurrency: int
    min_replicas: int
    """Zero unless this is the revision that is kept warm."""
    max_replicas: int
    idle_seconds: float
    labels: frozenset[tuple[str, str]] = frozenset()
    """That a worker must carry."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica that has not ended."""

    id: UUID
    worker_id: str
    state: ReplicaState
    draining: bool
    """It was told to drain, or does."""
    current: bool
    """It is what a replica that were started now would be."""
    room: Room
    created_at: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class DeploymentView:
    id: UUID
    wish: Wish | None
    """None when it is no longer in the catalog."""
    in_flight: int = 0
    demand_until: datetime | None = None
    """When the first word on demand lapses."""
    need: int = 0
    wanted: int = 0
    """As the last plan said."""
    last_needed: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    pending_since: datetime | None = None
    failed_on: frozenset[str] = frozenset()
    """Workers on which a start failed not long ago."""
    replicas: tuple[ReplicaView, ...] = ()
    launched: bool = False
    """It has a fixed number of replicas, and keeps what serves until its successor does."""
    paused: bool = False
    """Nothing of it is started or ended."""
    unheard: bool = False
    """It may be in the catalog, whose copy is an older one: it stays as it is."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    id: str
    lease_until: datetime
    draining: bool
    languages: frozenset[Language]
    capacity: Room
    used: Room = Room()
    """By all replicas that have not ended."""
    leaving: Room = Room()
    """The part of it that drains."""
    labels: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class IdleReplica:
    """A replica of a deployment that nobody needs just now: it may give way."""

    id: UUID
    deployment_id: UUID
    worker_id: str
    room: Room
    idle_since: datetime


@dataclass(frozen=True, slots=True)
class View:
    now: datetime
    watching_since: datetime
    """Since when reports of workers could have arrived without a gap. A lease that lapsed before says nothing."""
    lease: timedelta
    workers: tuple[WorkerView, ...]
    deployments: tuple[DeploymentView, ...]
    idle: tuple[IdleReplica, ...] = ()
    """Of other deployments than those."""


@dataclass(frozen=True, slots=True)
class Start:
    deployment_id: UUID
    worker_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    replica_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica that ended without its worker saying so."""

    replica_id: UUID
    reason: str
    counts: bool
    """It is a failed attempt of the deployment, and not a loss of its worker."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be kept in mind of one deployment."""

    deployment_id: UUID
    need: int
    wanted: int
    last_needed: datetime | None
    pending: str | None
    """Why a replica that it needs has no place."""
    forgive: bool
    """Earlier failures no longer count."""
    look_at: datetime | None
    """When to plan it again at the latest; None when only news can change it."""


@dataclass(frozen=True, slots=True)
class Plan:
    starts: tuple[Start, ...] = ()
    drains: tuple[Drain, ...] = ()
    failures: tuple[Failure, ...] = ()
    decisions: tuple[Decision, ...] = ()
    starved: bool = False
    """Some deployment that has no replica at all finds no place: idle replicas of others should give way."""
