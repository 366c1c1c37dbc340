"""Changes of a replica's row, with what they mean for its deployment. The deployment's row is locked."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.replicas import ReplicaState
from libs.common.text import storable
from services.deployer import events
from services.deployer.models import Deployment, EventKind, Replica
from services.deployer.states import STABLE_SECONDS, backoff

MAX_REASON = 2000


def move(
    session: AsyncSession,
    deployment: Deployment,
    replica: Replica,
    state: ReplicaState,
    now: datetime,
    *,
    reason: str | None = None,
    counts: bool = True,
) -> None:
    """The replica is in a new state now.

    Args:
        reason: for people.
        counts: a failure is an attempt of the deployment that failed, so that the next one waits.
    """
    replica.state, replica.since = state, now
    if reason is not None:
        replica.reason = storable(reason, MAX_REASON)
    if state is ReplicaState.READY:
        replica.ready_at = now
        deployment.last_failure = None
    elif state is ReplicaState.FAILED and counts and not replica.drain_requested:
        _count_failure(deployment, replica, now)
    events.record_replica(
        session, now, EventKind(state.value), deployment, replica, replica.reason or _MESSAGES[state]
    )


def request_drain(
    session: AsyncSession, deployment: Deployment, replica: Replica, now: datetime, reason: str
) -> None:
    """The replica should end: it finishes the call under way and takes no other. One that its worker has not taken
    up yet ends at once."""
    replica.drain_requested = True
    if replica.state is ReplicaState.WANTED:
        move(session, deployment, replica, ReplicaState.STOPPED, now, reason=reason)
        return
    replica.reason = reason
    events.record_replica(session, now, EventKind.DRAINING, deployment, replica, f"is told to drain: {reason}")


def _count_failure(deployment: Deployment, replica: Replica, now: datetime) -> None:
    deployment.last_failure = replica.reason or "the replica failed without a reason"
    if replica.ready_at is not None and now - replica.ready_at >= timedelta(seconds=STABLE_SECONDS):
        deployment.failures, deployment.retry_at = 0, None
        return
    if deployment.retry_at is not None and now < deployment.retry_at:
        return  # one of several that were started together: one attempt
    deployment.failures += 1
    if replica.ready_at is not None and deployment.failures == 1:
        deployment.retry_at = None  # it did start, so starting it again is worth no pause the first time
    else:
        deployment.retry_at = now + backoff(deployment.failures)


_MESSAGES = {
    ReplicaState.STARTING: "starts",
    ReplicaState.READY: "takes calls",
    ReplicaState.DRAINING: "finishes its calls",
    ReplicaState.STOPPED: "ended",
    ReplicaState.FAILED: "failed",
}
