"""Counting failed attempts."""

from __future__ import annotations

import pytest

from libs.common.problems import TooMany
from services.fakts.identity.passwords import Attempts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_attempts_are_allowed_again_as_old_ones_leave_the_window() -> None:
    clock = Clock()
    attempts = Attempts(allowed=2, seconds=10, clock=clock)
    attempts.begin("a")
    clock.now = 4
    attempts.begin("a")
    attempts.begin("b")
    with pytest.raises(TooMany, match="try again in 6 s") as refused:
        attempts.begin("a")
    assert refused.value.headers == {"Retry-After": "6"}
    clock.now = 10
    attempts.begin("a")
    with pytest.raises(TooMany, match="try again in 4 s"):
        attempts.begin("a")


def test_a_refused_attempt_does_not_lengthen_the_wait() -> None:
    clock = Clock()
    attempts = Attempts(allowed=1, seconds=10, clock=clock)
    attempts.begin("a")
    for clock.now in (3, 6, 9):
        with pytest.raises(TooMany):
            attempts.begin("a")
    clock.now = 10
    attempts.begin("a")


def test_a_success_forgives_and_memory_is_bounded() -> None:
    attempts = Attempts(allowed=1, subjects=2)
    attempts.begin("a")
    attempts.forgive("a")
    attempts.begin("a")
    for subject in ("b", "c"):
        attempts.begin(subject)
    attempts.begin("a")  # forgotten for the newer ones
    with pytest.raises(TooMany):
        attempts.begin("c")
