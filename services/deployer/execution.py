"""Writing a plan into rows. Workers and gateways learn of it from the rows, after the commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.replicas import ReplicaState
from services.deployer import events
from services.deployer.catalog import Catalog
from services.deployer.models import Deployment, EventKind, Replica
from services.deployer.replicas import move, request_drain
from services.deployer.states import LIVE
from services.deployer.view import Decision, Drain, Failure, Plan, Start


@dataclass
class Rows:
    """Locked deployments with all their live replicas."""

    deployments: dict[UUID, Deployment]
    replicas: dict[UUID, list[Replica]]

    def add(self, deployments: Mapping[UUID, Deployment], replicas: Mapping[UUID, list[Replica]]) -> None:
        self.deployments.update(deployments)
        self.replicas.update(replicas)

    def live(self) -> dict[UUID, list[Replica]]:
        """Those that are still live, by deployment."""
        return {key: [row for row in rows if row.state in LIVE] for key, rows in self.replicas.items()}


@dataclass
class _Execution:
    session: AsyncSession
    catalog: Catalog
    rows: Rows
    now: datetime
    orders: defaultdict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))


def carry_out(
    session: AsyncSession, catalog: Catalog, rows: Rows, plan: Plan, now: datetime
) -> Mapping[str, list[UUID]]:
    """Write a plan down. Returns the replicas whose orders changed, by worker."""
    doing = _Execution(session, catalog, rows, now)
    by_id = {row.id: row for found in rows.replicas.values() for row in found}
    for failure in plan.failures:
        _fail(doing, by_id[failure.replica_id], failure)
    for drain in plan.drains:
        _drain(doing, by_id[drain.replica_id], drain)
    for start in plan.starts:
        _start(doing, start)
    for decision in plan.decisions:
        _decide(doing, rows.deployments[decision.deployment_id], decision)
    return doing.orders


def _fail(doing: _Execution, row: Replica, failure: Failure) -> None:
    deployment = doing.rows.deployments[row.deployment_id]
    move(
        doing.session,
        deployment,
        row,
        ReplicaState.FAILED,
        doing.now,
        reason=failure.reason,
        counts=failure.counts,
    )
    doing.orders[row.worker_id].append(row.id)


def _drain(doing: _Execution, row: Replica, drain: Drain) -> None:
    request_drain(doing.session, doing.rows.deployments[row.deployment_id], row, doing.now, drain.reason)
    doing.orders[row.worker_id].append(row.id)


def _start(doing: _Execution, start: Start) -> None:
    deployment = doing.rows.deployments[start.deployment_id]
    launched = deployment.replicas is not None  # what does not load takes no other version's place
    spec = doing.catalog.spec(deployment.revision_id, uuid4(), must_load=launched)
    if spec is None:
        raise LookupError(f"revision {deployment.revision_id} was planned and is not in the catalog")
    row = Replica(
        id=spec.id,
        deployment_id=deployment.id,
        revision_id=spec.revision_id,
        worker_id=start.worker_id,
        state=ReplicaState.WANTED,
        drain_requested=False,
        memory_mib=spec.memory_mib,
        cpus=spec.cpus,
        gpus=spec.gpus,
        secrets_version=spec.secrets_version,
        spec=spec.model_dump(mode="json"),
        created_at=doing.now,
        since=doing.now,
    )
    doing.session.add(row)
    doing.rows.replicas[deployment.id].append(row)
    doing.orders[row.worker_id].append(row.id)
    events.record_replica(doing.session, doing.now, EventKind.PLACED, deployment, row, "is to run on this worker")


def _decide(doing: _Execution, row: Deployment, decision: Decision) -> None:
    now = doing.now
    row.need, row.wanted, row.last_needed = decision.need, decision.wanted, decision.last_needed
    if decision.pending is None:
        row.pending_since = None
    elif row.pending_since is None:
        row.pending_since = now
    if decision.pending is not None and decision.pending != row.pending_reason:
        events.record(doing.session, now, EventKind.PENDING, row, decision.pending)
    row.pending_reason = decision.pending
    if decision.forgive:
        row.failures, row.retry_at, row.last_failure = 0, None, None
    row.due_at, row.changed_at = decision.look_at, now
