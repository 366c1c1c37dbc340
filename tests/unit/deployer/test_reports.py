from __future__ import annotations

from typing import Any

import pytest

from libs.common.contracts.replicas import Address, Capacity, ReplicaReport, ReplicaState, WorkerReport
from services.deployer.models import Replica
from services.deployer.reports import differences
from tests.unit.deployer.views import NOW, ago, key

HERE = Address(host_id="h", port=1)
WANTED, STARTING, READY = ReplicaState.WANTED, ReplicaState.STARTING, ReplicaState.READY


def row(number: int, state: ReplicaState, **members: Any) -> Replica:
    return Replica(
        id=key(number), state=state, since=ago(5), **{"drain_requested": False, "address": None, **members}
    )


def said(number: int, state: ReplicaState, address: Address | None = None) -> ReplicaReport:
    return ReplicaReport(id=key(number), state=state, since=NOW, address=address)


def report(*replicas: ReplicaReport) -> WorkerReport:
    return WorkerReport(name="n", version="1", capacity=Capacity(cpus=1, memory_mib=1), replicas=replicas)


def test_what_is_as_it_was_is_no_difference() -> None:
    here = HERE.model_dump(mode="json", exclude_none=True)
    assert differences([row(1, READY, address=here)], report(said(1, READY, HERE))) == []


def test_a_new_state_and_a_new_address_are_differences() -> None:
    started = said(1, READY, HERE)
    assert differences([row(1, STARTING)], report(started)) == [started]
    assert differences([row(1, READY, address={"host_id": "h", "port": 2})], report(started)) == [started]


def test_what_was_never_taken_up_may_be_missing() -> None:
    assert differences([row(1, WANTED)], report()) == []


@pytest.mark.parametrize("state", [STARTING, READY])
def test_what_was_there_and_is_missing_has_failed(state: ReplicaState) -> None:
    (found,) = differences([row(1, state)], report())
    assert found.state is ReplicaState.FAILED
    assert found.reason is not None


def test_what_was_draining_and_is_missing_has_stopped() -> None:
    for one in (row(1, ReplicaState.DRAINING), row(1, READY, drain_requested=True)):
        (found,) = differences([one], report())
        assert (found.state, found.reason) == (ReplicaState.STOPPED, None)


def test_a_step_back_is_refused() -> None:
    assert differences([row(1, READY)], report(said(1, STARTING))) == []


def test_replicas_that_are_not_ours_are_left_to_the_orders() -> None:
    assert differences([], report(said(9, READY))) == []
