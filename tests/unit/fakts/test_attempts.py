"""Counting failed attempts."""

from __future__ import annotations

import pytest

from libs.common.problems import TooMany
from services.fakts.identity.attempts import Attempts, SignInAttempts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def attempt(attempts: Attempts, subject: str) -> None:
    attempts.check(subject)
    attempts.count(subject)


def test_attempts_are_allowed_again_as_old_ones_leave_the_window() -> None:
    clock = Clock()
    attempts = Attempts(allowed=2, seconds=10, clock=clock)
    attempt(attempts, "a")
    clock.now = 4
    attempt(attempts, "a")
    attempt(attempts, "b")
    with pytest.raises(TooMany, match="try again in 6 s") as refused:
        attempt(attempts, "a")
    assert refused.value.headers == {"Retry-After": "6"}
    clock.now = 10
    attempt(attempts, "a")
    with pytest.raises(TooMany, match="try again in 4 s"):
        attempt(attempts, "a")


def test_a_refused_attempt_does_not_lengthen_the_wait() -> None:
    clock = Clock()
    attempts = Attempts(allowed=1, seconds=10, clock=clock)
    attempt(attempts, "a")
    for clock.now in (3, 6, 9):
        with pytest.raises(TooMany):
            attempt(attempts, "a")
    clock.now = 10
    attempt(attempts, "a")


def test_a_success_forgives_and_memory_is_bounded() -> None:
    attempts = Attempts(allowed=1, subjects=2)
    attempt(attempts, "a")
    attempts.forgive("a")
    attempt(attempts, "a")
    for subject in ("b", "c"):
        attempt(attempts, subject)
    attempt(attempts, "a")  # forgotten for the newer ones
    with pytest.raises(TooMany):
        attempt(attempts, "c")


def test_one_attempt_can_be_taken_back() -> None:
    attempts = Attempts(allowed=2)
    for _ in range(2):
        attempt(attempts, "a")
    attempts.take_back("a")
    attempt(attempts, "a")
    with pytest.raises(TooMany):
        attempt(attempts, "a")
    for _ in range(3):
        attempts.take_back("a")
    assert attempts.remembered == 0


def test_who_was_quiet_for_the_window_is_not_remembered() -> None:
    clock = Clock()
    attempts = Attempts(seconds=10, clock=clock)
    for clock.now in range(8):
        attempt(attempts, f"{clock.now} {'x' * 100_000}")
    attempt(attempts, "y")
    assert attempts.remembered == 9
    clock.now = 15
    attempt(attempts, "y")
    assert attempts.remembered == 3


def test_an_address_has_so_many_failures_whatever_the_names() -> None:
    attempts = SignInAttempts(Attempts(allowed=2), Attempts(allowed=4))
    for name in ("a", "b", "c", "d"):
        attempts.begin(name, "192.0.2.1")
    with pytest.raises(TooMany):
        attempts.begin("e", "192.0.2.1")
    attempts.begin("e", "192.0.2.2")
    # A password that is right forgives the name its failures, and the address none of others.
    attempts.succeeded("a", "192.0.2.1")
    attempts.begin("a", "192.0.2.1")
    with pytest.raises(TooMany):
        attempts.begin("a", "192.0.2.1")


def test_what_is_refused_for_its_name_is_not_counted_for_its_address() -> None:
    attempts = SignInAttempts(Attempts(allowed=1), Attempts(allowed=2))
    attempts.begin("jane", "192.0.2.1")
    for _ in range(3):
        with pytest.raises(TooMany):
            attempts.begin("JANE", "192.0.2.1")
    attempts.begin("paul", "192.0.2.1")


def test_addresses_of_one_customer_are_one_and_unknown_ones_many() -> None:
    attempts = SignInAttempts(Attempts(allowed=2), Attempts(allowed=2))
    for address in ("2001:db8::1", "2001:db8::2"):
        attempts.begin(address, address)
    with pytest.raises(TooMany):
        attempts.begin("a", "2001:db8::3")
    attempts.begin("a", "2001:db8:0:1::1")
    for name in "abcdef":
        attempts.begin(name, "")
    attempts.begin("a", "")
    with pytest.raises(TooMany):
        attempts.begin("a", "")
