"""Rates over a sliding window."""

from __future__ import annotations

import pytest

from libs.common.problems import TooMany
from services.fakts.limits import Rate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_are_allowed_in_so_many_seconds_for_each_subject() -> None:
    clock = Clock()
    rate = Rate(2, 60, clock=clock)
    rate.take("a")
    clock.now = 30
    rate.take("a")
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.headers == {"Retry-After": "30"}
    rate.take("b")
    clock.now = 60
    rate.take("a")
    with pytest.raises(TooMany):
        rate.check("a")


def test_what_is_refused_is_not_counted_and_what_is_counted_need_not_be_checked() -> None:
    clock = Clock()
    rate = Rate(1, 10, clock=clock)
    for _ in range(3):
        rate.count("a")
    clock.now = 9.9
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.headers == {"Retry-After": "1"}
    clock.now = 10
    rate.check("a")


def test_the_subjects_that_were_longest_quiet_are_forgotten() -> None:
    rate = Rate(1, 60, subjects=2, clock=Clock())
    for subject in ("a", "b", "a", "c"):
        rate.count(subject)
    rate.check("b")
    for subject in ("a", "c"):
        with pytest.raises(TooMany):
            rate.check(subject)
