"""Counting what is under way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.slots import Slots


def test_no_more_than_the_limit_enter() -> None:
    slots = Slots()
    assert [slots.enter("joe", 2) for _ in range(3)] == [True, True, False]
    assert slots.enter("mia", 2)
    slots.leave("joe")
    assert slots.enter("joe", 2)


def test_a_limit_of_none_lets_nobody_in() -> None:
    assert not Slots().enter("joe", 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans())))
def test_the_count_is_that_of_those_inside(steps: list[tuple[str, bool]]) -> None:
    slots, inside = Slots(), {"a": 0, "b": 0}
    for name, coming in steps:
        if coming:
            assert slots.enter(name, 3) == (inside[name] < 3)
            inside[name] = min(inside[name] + 1, 3)
        elif inside[name]:
            slots.leave(name)
            inside[name] -= 1
