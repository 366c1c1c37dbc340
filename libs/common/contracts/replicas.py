"""Replicas: their states, what a worker is told to run, and what it reports."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, Field

from libs.common.contracts.catalog import Artifact, CatalogEntry, Language, NetworkAccess, Revision
from libs.common.contracts.identity import Wire

ROUTES_FEED = "routes"


class ReplicaState(StrEnum):
    WANTED = "wanted"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


TRANSITIONS: Mapping[ReplicaState, frozenset[ReplicaState]] = {
    ReplicaState.WANTED: frozenset({ReplicaState.STARTING, ReplicaState.STOPPED, ReplicaState.FAILED}),
    ReplicaState.STARTING: frozenset(
        {ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.STOPPED, ReplicaState.FAILED}
    ),
    ReplicaState.READY: frozenset({ReplicaState.DRAINING, ReplicaState.STOPPED, ReplicaState.FAILED}),
    ReplicaState.DRAINING: frozenset({ReplicaState.STOPPED, ReplicaState.FAILED}),
    ReplicaState.STOPPED: frozenset(),
    ReplicaState.FAILED: frozenset(),
}
"""The one transition table. A state may always be reported again; STOPPED and FAILED are final: a replica
that is to run again is a new row with a new id."""

TERMINAL = frozenset({ReplicaState.STOPPED, ReplicaState.FAILED})


class ReplicaSpec(Wire):
    """All that a worker needs to run one replica. Holds no secret: those are asked of the registry at start."""

    id: UUID
    revision_id: UUID
    algorithm_id: UUID
    owner: str
    name: str
    commit: str
    language: Language
    artifact: Artifact
    network_access: NetworkAccess = NetworkAccess.FULL
    pipeline_enabled: bool = True
    concurrency: int = 1
    memory_mib: int = 2048
    cpus: float = 0.0
    gpus: int = 0
    secrets_version: int = 0
    load_timeout_seconds: float = 300.0
    must_load: bool = False
    """One whose load() fails has failed. Else it answers every call with that error, as its callers should see it."""

    @classmethod
    def of(cls, entry: CatalogEntry, revision: Revision, replica_id: UUID, *, must_load: bool = False) -> ReplicaSpec:
        """What a replica of an algorithm's revision is made of, as the catalog says."""
        return cls(
            id=replica_id,
            revision_id=revision.id,
            algorithm_id=entry.id,
            owner=entry.owner,
            name=entry.name,
            commit=revision.commit,
            language=revision.language,
            artifact=revision.artifact,
            network_access=entry.network_access,
            pipeline_enabled=entry.pipeline_enabled,
            concurrency=entry.scaling.concurrency,
            memory_mib=entry.scaling.memory_mib,
            cpus=entry.scaling.cpus,
            gpus=entry.scaling.gpus,
            secrets_version=entry.secrets_version,
            must_load=must_load,
        )


class ReplicaOrder(Wire):
    """What one replica on a worker should be."""

    spec: ReplicaSpec
    drain: bool = False
    """Finish the call under way, take no further one, then stop."""


class Address(Wire):
    """Where a replica takes calls. A gateway on the same host uses `unix`, all others `host` and `port`."""

    host_id: str
    """Names the machine (and mount namespace) in which `unix` can be opened."""
    unix: str | None = None
    host: str | None = None
    port: int | None = None
    token: str | None = None
    """Sent as `x-replica-token` over TCP."""


def derived_token(secret: str, entry_id: UUID) -> str:
    """What the replicas of an entry want to be shown, where gateways know a secret. It tells nothing of another's."""
    return hmac.digest(secret.encode(), str(entry_id).encode(), "sha256").hex()


class ReplicaReport(Wire):
    id: UUID
    state: ReplicaState
    reason: str | None = None
    address: Address | None = None
    since: AwareDatetime


class ReplicaLog(Wire):
    """A part of a replica's log. `GET /internal/replicas/{id}/log?offset=` of the worker that runs or ran it."""

    replica_id: UUID
    offset: int
    """Where the text begins, in bytes of UTF-8: later than asked for when what was there is gone."""
    next_offset: int
    """What to ask for next."""
    text: str
    ended: bool
    """Nothing follows, now or later."""


class Capacity(Wire):
    cpus: float = Field(gt=0)
    memory_mib: int = Field(gt=0)
    gpus: int = Field(default=0, ge=0)
    replicas: int = Field(default=64, ge=0)
    """Most replicas at once."""


class WorkerReport(Wire):
    """What runs on a node right now: all of it, each time. `POST /internal/workers/{id}/report`."""

    name: str
    version: str
    runtime: str = "process"
    labels: Mapping[str, str] = {}
    languages: tuple[Language, ...] = ()
    capacity: Capacity
    replicas: tuple[ReplicaReport, ...] = ()
    run: str = Field(default="", max_length=64)
    """Names this run of the worker's process. Empty when the worker does not number its reports."""
    sequence: int = Field(default=0, ge=0)
    """Rises with every report of the run. A report that arrives after a later one changes nothing."""


class WorkerOrders(Wire):
    """The answer: every replica that should run there. What is not named must be stopped."""

    replicas: tuple[ReplicaOrder, ...] = ()
    lease_seconds: float
    """Report again within a third of this; a worker silent for longer has its replicas placed elsewhere."""


class RouteReplica(Wire):
    id: UUID
    address: Address
    concurrency: int = 1


class Route(Wire):
    """Feed `routes`, keyed by revision id: the replicas that take calls now, and why there may be none."""

    revision_id: UUID
    replicas: tuple[RouteReplica, ...] = ()
    failure: str | None = None
    """Reason of the last failed start, while no replica is ready. Calls that wait are answered with it."""


class Demand(Wire):
    revision_id: UUID
    algorithm_id: UUID
    in_flight: int = Field(ge=0)
    """Most calls that were under way or waiting at one moment since the last report."""
    waiting: int = Field(ge=0)
    """Calls that wait for a replica now."""


class DemandReport(Wire):
    """`POST /internal/demand`, by each gateway, at once when a call finds no room and every second while
    there is any. A revision that is no longer named has no demand from this gateway."""

    gateway: str
    demands: tuple[Demand, ...] = ()
