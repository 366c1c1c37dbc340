from __future__ import annotations

from datetime import timedelta

import pytest

from libs.common.contracts.replicas import TERMINAL, TRANSITIONS, ReplicaState
from services.deployer.states import DEADLINES, backoff, follows, overdue
from tests.unit.deployer.views import NOW, ago

ORDER = list(ReplicaState)


@pytest.mark.parametrize("state", ORDER)
def test_a_state_follows_itself(state: ReplicaState) -> None:
    assert follows(state, state)


@pytest.mark.parametrize(
    ("old", "new"), [(old, new) for old, after in TRANSITIONS.items() for new in after], ids=lambda state: state.value
)
def test_what_the_table_allows_follows(old: ReplicaState, new: ReplicaState) -> None:
    assert follows(old, new)


def test_states_in_between_may_have_gone_unreported() -> None:
    assert follows(ReplicaState.WANTED, ReplicaState.READY)
    assert follows(ReplicaState.WANTED, ReplicaState.DRAINING)


@pytest.mark.parametrize("ended", sorted(TERMINAL))
def test_nothing_follows_an_end(ended: ReplicaState) -> None:
    assert [state for state in ORDER if follows(ended, state)] == [ended]


def test_nothing_goes_back() -> None:
    assert not follows(ReplicaState.READY, ReplicaState.STARTING)
    assert not follows(ReplicaState.DRAINING, ReplicaState.READY)
    assert not follows(ReplicaState.STARTING, ReplicaState.WANTED)


@pytest.mark.parametrize("state", sorted(DEADLINES))
def test_a_state_is_overdue_from_its_deadline_on(state: ReplicaState) -> None:
    seconds = DEADLINES[state].seconds
    assert overdue(state, ago(seconds - 1), NOW) is None
    assert overdue(state, ago(seconds), NOW) == DEADLINES[state].reason


def test_a_replica_may_be_ready_for_ever() -> None:
    assert overdue(ReplicaState.READY, ago(10_000_000), NOW) is None


def test_the_pause_doubles_up_to_a_minute() -> None:
    assert [backoff(failures) / timedelta(seconds=1) for failures in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]
