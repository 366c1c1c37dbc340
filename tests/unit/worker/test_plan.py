"""What a worker does about its orders, over every combination of order and state."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.replicas import TERMINAL, ReplicaState
from services.worker.plan import Actions, plan

WANTED, STARTING, READY, DRAINING, STOPPED, FAILED = ReplicaState
ID = uuid4()


@pytest.mark.parametrize("state", [WANTED, STARTING, READY, DRAINING, STOPPED, FAILED])
def test_what_runs_as_ordered_is_left_alone(state: ReplicaState) -> None:
    assert plan({ID: False}, {ID: state}) == Actions()


def test_a_new_order_is_accepted() -> None:
    assert plan({ID: False}, {}) == Actions(accept=(ID,))


def test_an_order_to_drain_what_is_not_here_is_declined() -> None:
    assert plan({ID: True}, {}) == Actions(decline=(ID,))


@pytest.mark.parametrize(
    ("state", "actions"),
    [
        (WANTED, Actions(stop=(ID,))),
        (STARTING, Actions(stop=(ID,))),
        (READY, Actions(drain=(ID,))),
        (DRAINING, Actions()),
        (STOPPED, Actions()),
        (FAILED, Actions()),
    ],
)
def test_a_drain_lets_calls_end_and_stops_what_has_none(state: ReplicaState, actions: Actions) -> None:
    assert plan({ID: True}, {ID: state}) == actions


@pytest.mark.parametrize(
    ("state", "actions"),
    [
        (WANTED, Actions(stop=(ID,))),
        (STARTING, Actions(stop=(ID,))),
        (READY, Actions(stop=(ID,))),
        (DRAINING, Actions(stop=(ID,))),
        (STOPPED, Actions(forget=(ID,))),
        (FAILED, Actions(forget=(ID,))),
    ],
)
def test_what_is_not_ordered_is_ended_and_then_forgotten(state: ReplicaState, actions: Actions) -> None:
    assert plan({}, {ID: state}) == actions


IDS = st.sampled_from([UUID(int=number) for number in range(12)])
ORDERS = st.dictionaries(IDS, st.booleans())
LOCAL = st.dictionaries(IDS, st.sampled_from(ReplicaState))


def carried_out(actions: Actions, local: dict[UUID, ReplicaState]) -> dict[UUID, ReplicaState]:
    """The states after everything that was begun has ended well."""
    after = dict(local)
    after |= dict.fromkeys(actions.accept, READY)
    after |= dict.fromkeys((*actions.decline, *actions.drain, *actions.stop), STOPPED)
    for replica in actions.forget:
        del after[replica]
    return after


@given(ORDERS, LOCAL)
def test_each_replica_gets_at_most_one_action(orders: dict[UUID, bool], local: dict[UUID, ReplicaState]) -> None:
    actions = plan(orders, local)
    every = [*actions.accept, *actions.decline, *actions.drain, *actions.stop, *actions.forget]
    assert len(every) == len(set(every))
    assert set(actions.accept) | set(actions.decline) == orders.keys() - local.keys()
    assert set(actions.forget) | set(actions.drain) | set(actions.stop) <= local.keys()


@given(ORDERS, LOCAL)
def test_nothing_is_started_that_was_here_before(orders: dict[UUID, bool], local: dict[UUID, ReplicaState]) -> None:
    assert not set(plan(orders, local).accept) & local.keys()


@given(ORDERS, LOCAL)
def test_repeating_the_plan_ends_with_what_is_ordered_and_then_does_nothing(
    orders: dict[UUID, bool], local: dict[UUID, ReplicaState]
) -> None:
    for _ in range(3):
        local = carried_out(plan(orders, local), local)
    assert plan(orders, local) == Actions()
    assert local.keys() == orders.keys()
    serving = {replica for replica, state in local.items() if state not in TERMINAL}
    assert all(state is DRAINING for replica, state in local.items() if orders[replica] and replica in serving)
