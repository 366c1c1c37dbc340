from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest

from libs.common.contracts.builds import BUILD_TRANSITIONS, BuildState
from libs.common.contracts.replicas import TERMINAL, TRANSITIONS, ReplicaState
from libs.common.states import IllegalTransition, may, step


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


TABLE: Mapping[Light, frozenset[Light]] = {
    Light.RED: frozenset({Light.GREEN, Light.OFF}),
    Light.GREEN: frozenset({Light.RED}),
    Light.OFF: frozenset(),
}


def test_what_the_table_names_may_follow_and_nothing_else() -> None:
    allowed = {(old, new) for old in Light for new in Light if may(TABLE, old, new) and old is not new}
    assert allowed == {(Light.RED, Light.GREEN), (Light.RED, Light.OFF), (Light.GREEN, Light.RED)}


@pytest.mark.parametrize("state", list(Light))
def test_staying_is_always_allowed(state: Light) -> None:
    assert step(TABLE, state, state) is state


def test_a_step_returns_the_new_state_or_says_what_is_wrong() -> None:
    assert step(TABLE, Light.RED, Light.GREEN) is Light.GREEN
    with pytest.raises(IllegalTransition, match="Light: off cannot become red"):
        step(TABLE, Light.OFF, Light.RED)


@pytest.mark.parametrize(("table", "states"), [(TRANSITIONS, ReplicaState), (BUILD_TRANSITIONS, BuildState)])
def test_the_tables_of_the_contracts_cover_every_state(
    table: Mapping[StrEnum, frozenset[StrEnum]], states: type[StrEnum]
) -> None:
    assert set(table) == set(states)
    assert set().union(*table.values()) <= set(states)


def test_the_end_of_a_replica_is_final_and_can_be_reached_from_everywhere() -> None:
    assert {state for state in ReplicaState if not TRANSITIONS[state]} == TERMINAL
    for state in set(ReplicaState) - TERMINAL:
        assert TRANSITIONS[state] >= TERMINAL
