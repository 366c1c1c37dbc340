"""Choosing a replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.router import (
    AHEAD_MOST,
    AHEAD_SECONDS,
    FIRST_PACE,
    SLOWEST_PACE,
    ahead_of,
    choose,
    choose_ahead,
    next_pace,
)

NOW = 100.0


@dataclass
class Fake:
    outstanding: int = 0
    concurrency: int = 1
    ahead: int = 0
    avoid_until: float = 0.0


def scripted(*numbers: float) -> Callable[[], float]:
    rest = list(numbers)
    return lambda: rest.pop(0)


def unused() -> float:
    raise AssertionError("one or no replica needs no chance")


fakes = st.lists(
    st.builds(
        Fake,
        outstanding=st.integers(0, 5),
        concurrency=st.integers(1, 4),
        ahead=st.integers(0, 3),
        avoid_until=st.sampled_from([0.0, NOW, NOW + 1]),
    ),
    max_size=8,
)
chances = st.floats(0, 1, exclude_max=True)


def test_of_none_there_is_none() -> None:
    assert choose([], NOW, unused) is None
    assert choose_ahead([], NOW, unused) is None


@pytest.mark.parametrize(
    ("only", "taken"),
    [
        (Fake(), True),
        (Fake(outstanding=1), False),
        (Fake(outstanding=1, concurrency=2), True),
        (Fake(avoid_until=NOW + 0.1), False),
        (Fake(avoid_until=NOW), True),
        (Fake(outstanding=1, ahead=5), False),
    ],
)
def test_a_single_replica_is_chosen_when_it_has_room(only: Fake, taken: bool) -> None:
    assert choose([only], NOW, unused) is (only if taken else None)


def test_of_two_the_one_with_less_to_do_is_chosen() -> None:
    busy, free = Fake(outstanding=1, concurrency=2), Fake(concurrency=2)
    assert choose([busy, free], NOW, scripted(0.0, 0.0)) is free
    assert choose([free, busy], NOW, scripted(0.0, 0.0)) is free
    assert choose([free, busy], NOW, scripted(0.9, 0.0)) is free


def test_less_to_do_is_measured_by_what_a_replica_can() -> None:
    large, small = Fake(outstanding=3, concurrency=8), Fake(outstanding=1, concurrency=2)
    assert choose([large, small], NOW, scripted(0.0, 0.0)) is large


def test_the_one_of_two_that_has_room_is_chosen() -> None:
    full, free = Fake(outstanding=1), Fake()
    assert choose([full, free], NOW, scripted(0.0, 0.0)) is free
    assert choose([free, full], NOW, scripted(0.0, 0.0)) is free


def test_when_both_random_ones_are_full_another_with_room_is_found() -> None:
    replicas = [Fake(outstanding=1), Fake(outstanding=1), Fake()]
    assert choose(replicas, NOW, scripted(0.0, 0.0)) is replicas[2]


def test_when_all_are_full_none_is_chosen() -> None:
    assert choose([Fake(outstanding=1)] * 3, NOW, scripted(0.0, 0.0)) is None
    assert choose([Fake(outstanding=1)] * 2, NOW, scripted(0.0, 0.0)) is None


def test_a_call_is_sent_ahead_only_within_the_allowance() -> None:
    assert choose_ahead([Fake(outstanding=1)], NOW, unused) is None
    assert choose_ahead([Fake(outstanding=2, ahead=1)], NOW, unused) is None
    fast = Fake(outstanding=1, ahead=1)
    assert choose_ahead([fast], NOW, unused) is fast
    assert choose_ahead([Fake(outstanding=1), fast], NOW, scripted(0.0, 0.0)) is fast


@given(fakes, chances, chances)
def test_what_is_chosen_has_room_and_is_chosen_whenever_one_has(replicas: list[Fake], a: float, b: float) -> None:
    roomy = [one for one in replicas if one.outstanding < one.concurrency and one.avoid_until <= NOW]
    found = choose(replicas, NOW, scripted(a, b))
    assert (found is not None) == bool(roomy)
    assert found is None or any(found is one for one in roomy)


@given(fakes, chances, chances)
def test_nothing_is_sent_ahead_beyond_what_a_replica_may_get(replicas: list[Fake], a: float, b: float) -> None:
    found = choose_ahead(replicas, NOW, scripted(a, b))
    assert found is None or (found.outstanding < found.concurrency + found.ahead and found.avoid_until <= NOW)


def test_over_time_each_of_equal_replicas_gets_its_share() -> None:
    replicas = [Fake(concurrency=1000) for _ in range(4)]
    state = 1
    for _ in range(1000):
        numbers = []
        for _ in range(2):
            state = (state * 1103515245 + 12345) % 2**31
            numbers.append(state / 2**31)
        chosen = choose(replicas, NOW, scripted(*numbers))
        assert chosen is not None
        chosen.outstanding += 1
    assert all(235 <= replica.outstanding <= 265 for replica in replicas)


def test_a_new_replica_is_sent_nothing_ahead() -> None:
    assert ahead_of(FIRST_PACE) == 0


def test_a_fast_replica_earns_its_allowance_over_hundreds_of_calls() -> None:
    pace, calls = FIRST_PACE, 0
    while not ahead_of(pace):
        pace = next_pace(pace, 0.0001)
        calls += 1
    assert calls > 200
    for _ in range(1000):
        pace = next_pace(pace, 0.0001)
    assert ahead_of(pace) == AHEAD_MOST


def test_a_replica_whose_answers_take_no_time_has_a_bounded_allowance() -> None:
    pace = FIRST_PACE
    for _ in range(100_000):
        pace = next_pace(pace, 0.0)
        assert ahead_of(pace) <= AHEAD_MOST
    assert ahead_of(pace) == AHEAD_MOST


def test_one_slow_call_ends_the_allowance() -> None:
    assert ahead_of(next_pace(0.0001, 2 * SLOWEST_PACE)) == 0


@given(st.floats(1e-6, 10), st.floats(0, 3000))
def test_what_is_sent_ahead_is_little_work(pace: float, seconds: float) -> None:
    new = next_pace(pace, seconds)
    assert new >= seconds
    assert ahead_of(new) * new <= AHEAD_SECONDS * 1.001
