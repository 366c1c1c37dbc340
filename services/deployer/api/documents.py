"""What administrators get to see of the deployer's rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel

from libs.common.contracts.catalog import Language
from libs.common.contracts.launches import EntryStatus, LaunchOrder, LaunchState
from libs.common.contracts.replicas import ReplicaState
from services.deployer.catalog import Catalog
from services.deployer.models import (
    Deployment,
    DeploymentKind,
    Event,
    EventKind,
    Launch,
    LaunchDeployment,
    Replica,
    Worker,
)
from services.deployer.states import LIVE
from services.deployer.view import Room

D = TypeVar("D", bound=BaseModel)


class Listing(BaseModel, Generic[D]):
    """One page of a list."""

    items: list[D]
    cursor: str | None
    """Asks for the next page; null on the last one."""


class Usage(BaseModel):
    """What the replicas of a worker keep of it."""

    replicas: int
    memory_mib: int
    cpus: float
    gpus: int


class CapacityDocument(BaseModel):
    cpus: float
    memory_mib: int
    gpus: int
    replicas: int


class WorkerDocument(BaseModel):
    id: str
    name: str
    version: str
    runtime: str
    state: Literal["ready", "draining", "lost"]
    draining: bool
    labels: dict[str, str]
    languages: list[str]
    capacity: CapacityDocument
    used: Usage
    lease_until: datetime
    joined_at: datetime


class ReplicaAddress(BaseModel):
    """Where it takes calls. The token that lets one in is not shown."""

    unix: str | None = None
    host: str | None = None
    port: int | None = None


class ReplicaDocument(BaseModel):
    id: UUID
    deployment_id: UUID
    revision_id: UUID
    algorithm: str
    commit: str
    language: Language
    worker_id: str
    desired: Literal["running", "stopped"]
    actual: ReplicaState
    reason: str | None
    since: datetime
    created_at: datetime
    ready_at: datetime | None
    memory_mib: int
    cpus: float
    gpus: int
    secrets_version: int
    address: ReplicaAddress | None


class Counts(BaseModel):
    """Replicas that have not ended."""

    ready: int = 0
    starting: int = 0
    draining: int = 0


class DeploymentDocument(BaseModel):
    id: UUID
    kind: DeploymentKind
    launch_id: UUID | None
    vanity_url: str | None
    """Of an entry of a launch."""
    revision_id: UUID
    algorithm_id: UUID
    algorithm: str | None
    """`owner/name`; null once it no longer exists."""
    state: Literal["idle", "ready", "starting", "pending", "failing"]
    desired: int
    needed: int
    actual: Counts
    reason: str | None
    """Why there are fewer replicas than there should be."""
    failures: int
    retry_at: datetime | None
    pending_since: datetime | None
    last_needed: datetime | None
    created_at: datetime
    changed_at: datetime


class DeploymentDetail(DeploymentDocument):
    replicas: list[ReplicaDocument]
    """Newest first, among them those that ended not long ago."""


class LaunchDeploymentDocument(BaseModel):
    """One order of a launch: what it asks for, and what became of it."""

    id: UUID
    kind: Literal["launch"] = "launch"
    launch_id: UUID
    launch: str
    satellite_id: UUID
    satellite: str
    satellite_version: int
    number: int
    action: str
    state: LaunchState
    reason: str | None
    paused: bool
    current: bool
    """No later order of the launch took its place."""
    serving_version: int | None
    """What calls are answered by now."""
    deadline_at: datetime | None
    by: str
    started_at: datetime
    changed_at: datetime


class LaunchDeploymentDetail(LaunchDeploymentDocument):
    entries: list[EntryStatus]
    replicas: list[ReplicaDocument]
    """Of the launch, newest first, among them those that ended not long ago."""


class EventDocument(BaseModel):
    id: int
    at: datetime
    kind: EventKind
    replica_id: UUID | None
    worker_id: str | None
    message: str


def worker_document(row: Worker, used: Room, now: datetime) -> WorkerDocument:
    state: Literal["ready", "draining", "lost"] = "draining" if row.draining else "ready"
    return WorkerDocument(
        id=row.id,
        name=row.name,
        version=row.version,
        runtime=row.runtime,
        state="lost" if row.lease_until < now else state,
        draining=row.draining,
        labels=row.labels,
        languages=row.languages,
        capacity=CapacityDocument(cpus=row.cpus, memory_mib=row.memory_mib, gpus=row.gpus, replicas=row.slots),
        used=Usage(replicas=used.slots, memory_mib=used.memory_mib, cpus=used.millicpus / 1000, gpus=used.gpus),
        lease_until=row.lease_until,
        joined_at=row.joined_at,
    )


def replica_document(row: Replica) -> ReplicaDocument:
    ends = row.drain_requested or row.state not in LIVE
    return ReplicaDocument(
        id=row.id,
        deployment_id=row.deployment_id,
        revision_id=row.revision_id,
        algorithm=f"{row.spec['owner']}/{row.spec['name']}",
        commit=row.spec["commit"],
        language=row.spec["language"],
        worker_id=row.worker_id,
        desired="stopped" if ends else "running",
        actual=row.state,
        reason=row.reason,
        since=row.since,
        created_at=row.created_at,
        ready_at=row.ready_at,
        memory_mib=row.memory_mib,
        cpus=row.cpus,
        gpus=row.gpus,
        secrets_version=row.secrets_version,
        address=ReplicaAddress.model_validate(row.address) if row.address is not None else None,
    )


def deployment_document(row: Deployment, catalog: Catalog, replicas: Iterable[Replica]) -> DeploymentDocument:
    counts = _counts(replicas)
    return DeploymentDocument(
        id=row.id,
        kind=row.kind,
        launch_id=row.launch_id,
        vanity_url=row.vanity_url,
        revision_id=row.revision_id,
        algorithm_id=row.algorithm_id,
        algorithm=catalog.name(row.revision_id),
        state=_state(row, counts),
        desired=row.wanted,
        needed=row.need,
        actual=counts,
        reason=row.pending_reason or row.last_failure,
        failures=row.failures,
        retry_at=row.retry_at,
        pending_since=row.pending_since,
        last_needed=row.last_needed,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def launch_deployment_document(row: LaunchDeployment, launch: Launch) -> LaunchDeploymentDocument:
    order = LaunchOrder.model_validate(row.order)
    current = launch.deployment_id == row.id
    return LaunchDeploymentDocument(
        id=row.id,
        launch_id=row.launch_id,
        launch=order.name,
        satellite_id=order.satellite_id,
        satellite=order.satellite,
        satellite_version=order.satellite_version,
        number=row.number,
        action=order.action,
        state=row.state,
        reason=row.reason,
        paused=current and order.paused,
        current=current,
        serving_version=launch.launched["satellite_version"] if launch.launched is not None else None,
        deadline_at=launch.deadline_at if current else None,
        by=order.by,
        started_at=row.started_at,
        changed_at=row.changed_at,
    )


def event_document(row: Event) -> EventDocument:
    return EventDocument(
        id=row.id,
        at=row.at,
        kind=row.kind,
        replica_id=row.replica_id,
        worker_id=row.worker_id,
        message=row.message,
    )


def _state(row: Deployment, counts: Counts) -> Literal["idle", "ready", "starting", "pending", "failing"]:
    if counts.ready:
        return "ready"
    if counts.starting:
        return "starting"
    if row.pending_reason:
        return "pending"
    return "failing" if row.failures else "idle"


def _counts(replicas: Iterable[Replica]) -> Counts:
    counts = Counts()
    for row in replicas:
        if row.state not in LIVE:
            continue
        if row.drain_requested or row.state is ReplicaState.DRAINING:
            counts.draining += 1
        elif row.state is ReplicaState.READY:
            counts.ready += 1
        else:
            counts.starting += 1
    return counts
