"""What the planner sees, and what it says. Pure data; times are aware, memory is in MiB."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState


@dataclass(frozen=True, slots=True)
class Wish:
    """What the catalog says of a deployment's replicas."""

    language: Language
    memory_mib: int
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
    memory_mib: int
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


@dataclass(frozen=True, slots=True)
class WorkerView:
    id: str
    lease_until: datetime
    draining: bool
    languages: frozenset[Language]
    memory_mib: int
    slots: int
    used_mib: int = 0
    used_slots: int = 0
    """By all replicas that have not ended."""
    leaving_mib: int = 0
    leaving_slots: int = 0
    """The part of it that drains."""
    labels: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class IdleReplica:
    """A replica of a deployment that nobody needs just now: it may give way."""

    id: UUID
    deployment_id: UUID
    worker_id: str
    memory_mib: int
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
