from __future__ import annotations

from datetime import timedelta
from typing import Any

from libs.common.contracts.replicas import ReplicaState, Route
from services.deployer.models import Deployment, Replica
from services.deployer.routes import route
from tests.unit.deployer.views import NOW, ago, key

GRACE = timedelta(seconds=5)
SOON = NOW + timedelta(seconds=1)


def deployment(**members: Any) -> Deployment:
    return Deployment(id=key(1), revision_id=key(1), **members)


def replica(number: int, state: ReplicaState = ReplicaState.READY, **members: Any) -> Replica:
    found = {
        "drain_requested": False,
        "address": {"host_id": "h", "port": number},
        "spec": {"concurrency": 2},
        **members,
    }
    return Replica(id=key(number), state=state, **found)


def routed(one: Deployment, *replicas: Replica) -> Route | None:
    return route(one, replicas, now=NOW, grace=GRACE)


def test_ready_replicas_are_routed_in_a_fixed_order() -> None:
    found = routed(deployment(), replica(3), replica(2))
    assert found is not None
    assert [(one.id, one.address.port, one.concurrency) for one in found.replicas] == [(key(2), 2, 2), (key(3), 3, 2)]


def test_what_drains_or_is_not_ready_or_has_no_address_is_not_routed() -> None:
    assert routed(deployment(), replica(1, drain_requested=True)) is None
    assert routed(deployment(), replica(1, ReplicaState.DRAINING)) is None
    assert routed(deployment(), replica(1, ReplicaState.STARTING)) is None
    assert routed(deployment(), replica(1, address=None)) is None


def test_nothing_is_said_of_what_is_at_rest() -> None:
    assert routed(deployment()) is None


def test_the_failure_is_told_until_the_next_attempt_may_start() -> None:
    failing = deployment(last_failure="bad", retry_at=SOON)
    found = routed(failing)
    assert found is not None
    assert found.failure == "bad"
    assert routed(deployment(last_failure="bad", retry_at=NOW)) is None


def test_no_failure_is_told_while_a_replica_is_ready_or_on_its_way() -> None:
    failing = deployment(last_failure="bad", retry_at=SOON)
    found = routed(failing, replica(1))
    assert found is not None
    assert found.failure is None
    assert routed(failing, replica(1, ReplicaState.WANTED)) is None
    assert routed(failing, replica(1, ReplicaState.WANTED, drain_requested=True)) is not None


def test_the_want_of_a_place_is_told_after_the_grace() -> None:
    assert routed(deployment(pending_reason="full", pending_since=ago(4))) is None
    found = routed(deployment(pending_reason="full", pending_since=ago(5)))
    assert found is not None
    assert found.failure == "full"
