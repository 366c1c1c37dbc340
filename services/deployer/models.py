"""The deployer's tables: what should run, what runs, and where.

Whoever changes rows locks them in this order: worker, launches, deployments by id, their replicas, feed. Then
nobody waits in a circle.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Enum, ForeignKey, Identity, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.contracts.launches import LaunchState
from libs.common.contracts.replicas import ReplicaState
from libs.common.feed import FeedEntryColumns, FeedVersionColumns
from libs.common.idempotency import AnsweredColumns
from libs.common.lease import Leased


class Base(DeclarativeBase):
    metadata = db.metadata()


def _values(kind: type[StrEnum]) -> Enum:
    """The values of an enumeration as text. The database does not check them: a newer release may add some."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class Answered(AnsweredColumns, Base):
    __tablename__ = "answered"


class DeploymentKind(StrEnum):
    ON_DEMAND = "on_demand"
    """A revision that has replicas because it is called. The deployment's id is the revision's."""
    LAUNCHED = "launched"
    """One entry of a launch. Its id is made of the launch's and the vanity URL (`contracts/launches.py` entry_id)."""


class EventKind(StrEnum):
    PLACED = "placed"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    PENDING = "pending"
    LAUNCH = "launch"
    """A launch's deployment changed its state."""


class Worker(Base):
    """A node as it reported itself last."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(64))
    runtime: Mapped[str] = mapped_column(String(32))
    labels: Mapped[dict[str, str]] = mapped_column(JSONB)
    languages: Mapped[list[str]] = mapped_column(JSONB)
    cpus: Mapped[float]
    memory_mib: Mapped[int]
    gpus: Mapped[int]
    slots: Mapped[int]
    """Most replicas at once."""
    lease_until: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    draining: Mapped[bool] = mapped_column(default=False)
    """An administrator wants the node empty."""
    run: Mapped[str] = mapped_column(String(64), default="")
    """Names the run of the worker's process that reported last."""
    former_run: Mapped[str] = mapped_column(String(64), default="")
    """The run that reported before this one."""
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    """Number of its last report."""
    joined_at: Mapped[datetime] = mapped_column(db.UtcDateTime)


class Deployment(Base):
    """Something that should have replicas, and how it is doing."""

    __tablename__ = "deployments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[DeploymentKind] = mapped_column(_values(DeploymentKind))
    revision_id: Mapped[UUID]
    algorithm_id: Mapped[UUID] = mapped_column(index=True)
    need: Mapped[int] = mapped_column(default=0)
    """Replicas that demand asks for now."""
    wanted: Mapped[int] = mapped_column(default=0)
    """Replicas that are kept: the need, and for a while what was needed before."""
    last_needed: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """When all that are wanted were needed."""
    failures: Mapped[int] = mapped_column(default=0)
    """Failed attempts in a row."""
    retry_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """No replica is started before this."""
    last_failure: Mapped[str | None] = mapped_column(Text)
    pending_since: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """Since when a replica waits for a place."""
    pending_reason: Mapped[str | None] = mapped_column(Text)
    launch_id: Mapped[UUID | None] = mapped_column(index=True)
    """The launch that it is an entry of."""
    launch_deployment_id: Mapped[UUID | None]
    """The launch's deployment that last set it."""
    vanity_url: Mapped[str | None] = mapped_column(String(100))
    replicas: Mapped[int | None]
    """How many it always has, whether or not it is called; null for one on demand."""
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict)
    """That a worker must carry to take its replicas."""
    paused: Mapped[bool] = mapped_column(default=False)
    """Nothing of it is started or ended."""
    route: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What the feed `routes` says."""
    due_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime, index=True)
    """When it is looked at next. Null while there is nothing to do and nothing runs."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(db.UtcDateTime)

    __table_args__ = (
        Index("ix_deployments_pending", "id", postgresql_where=text("pending_since is not null")),
        Index("ix_deployments_idle", "last_needed", postgresql_where=text("need = 0 and wanted > 0")),
    )


class Demand(Base):
    """One gateway's word on one deployment."""

    __tablename__ = "demands"

    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True)
    gateway: Mapped[str] = mapped_column(String(128), primary_key=True, index=True)
    in_flight: Mapped[int]
    waiting: Mapped[int]
    until: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)


class Replica(Base):
    """One replica: what it should be (`drain_requested`, `spec`) and what it is (`state`, `address`)."""

    __tablename__ = "replicas"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    deployment_id: Mapped[UUID] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    revision_id: Mapped[UUID]
    worker_id: Mapped[str] = mapped_column(String(64))
    state: Mapped[ReplicaState] = mapped_column(_values(ReplicaState), default=ReplicaState.WANTED)
    drain_requested: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it drains, ended or failed."""
    address: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    memory_mib: Mapped[int]
    cpus: Mapped[float]
    gpus: Mapped[int]
    secrets_version: Mapped[int]
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    since: Mapped[datetime] = mapped_column(db.UtcDateTime)
    """Since when it is in its state."""
    ready_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)

    __table_args__ = (
        Index("ix_replicas_deployment_id", "deployment_id"),
        Index("ix_replicas_live_worker_id", "worker_id", postgresql_where=text("state not in ('stopped', 'failed')")),
        Index("ix_replicas_ended", "since", postgresql_where=text("state in ('stopped', 'failed')")),
        Index("ix_replicas_created_at", "created_at", "id"),
    )


class Event(Base):
    """Something that happened to a deployment, for people."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    deployment_id: Mapped[UUID | None] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    """Null for what happened to a launch as a whole."""
    launch_deployment_id: Mapped[UUID | None]
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    kind: Mapped[EventKind] = mapped_column(_values(EventKind))
    replica_id: Mapped[UUID | None]
    worker_id: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index("ix_events_deployment_id_id", "deployment_id", "id"),
        Index("ix_events_launch_deployment_id_id", "launch_deployment_id", "id"),
    )


class Launch(Leased, Base):
    """A launch that was ever ordered: what it should run, what it is brought to run, and what ran well before.

    The lease is that of the deployer that looks after it in a cluster just now.
    """

    __tablename__ = "launches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    deployment_id: Mapped[UUID]
    """Of the newest order."""
    state: Mapped[LaunchState] = mapped_column(_values(LaunchState))
    reason: Mapped[str | None] = mapped_column(Text)
    order: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The newest one (`contracts/launches.py` LaunchOrder)."""
    aim: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The order whose entries are to run: the newest one, or the one that is rolled back to; null to run none."""
    proven: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The order that last was wholly ready: what is rolled back to."""
    deadline_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    first_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    """Since when it has run without a stop: of launches with one vanity URL, the oldest has the plain address."""
    changed_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    places: Mapped[list[dict[str, str]]] = mapped_column(JSONB, default=list)
    """Namespaces of clusters in which something of it may be (`clusters.py` Place)."""
    observed: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What was seen last of it in its cluster (`clusters.py` Seen)."""
    looked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """When it was looked at last in its cluster."""

    __table_args__ = (
        Index(
            "ix_launches_unfinished",
            "id",
            postgresql_where=text("state in ('deploying', 'rolling_back', 'failed', 'stopping')"),
        ),
        Index("ix_launches_placed", "looked_at", postgresql_where=text("places <> '[]'")),
    )


class LaunchDeployment(Base):
    """One order of a launch, and what became of it."""

    __tablename__ = "launch_deployments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    launch_id: Mapped[UUID] = mapped_column(ForeignKey("launches.id", ondelete="CASCADE"))
    number: Mapped[int]
    order: Mapped[dict[str, Any]] = mapped_column(JSONB)
    images: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """References that it runs with in a cluster (`satellite_source.py` Images): those of its first step."""
    state: Mapped[LaunchState] = mapped_column(_values(LaunchState))
    reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(db.UtcDateTime)

    __table_args__ = (
        UniqueConstraint("launch_id", "number"),
        Index("ix_launch_deployments_started_at_id", "started_at", "id"),
    )


class Planner(Leased, Base):
    """The process that plans. Its row is locked while it does, so there is one plan at a time."""

    __tablename__ = "planners"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    catalog_epoch: Mapped[str] = mapped_column(String(36), default="")
    catalog_version: Mapped[int] = mapped_column(BigInteger, default=0)
    """What the holder knows of the catalog. Who knows less leaves planning to it."""
