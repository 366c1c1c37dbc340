"""What an authentication request wants of the person before the browser goes back (OpenID Connect Core, section
3.1.2.1). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_UNREAD = ("request", "request_uri", "registration")


class Next(StrEnum):
    """What the browser sees next."""

    SIGN_IN = "sign in"
    """The sign-in page, for somebody who is not signed in."""
    SIGN_IN_AGAIN = "sign in again"
    """The sign-in page, whoever is signed in."""
    ASK = "ask"
    """The page where the person approves."""
    GO_BACK = "go back"
    """Nothing: the person approved before."""


class Unanswerable(Exception):
    """The request goes back with an error.

    Args:
        error: of OpenID Connect Core, section 3.1.2.6, or RFC 6749, section 4.1.2.1.
    """

    def __init__(self, error: str, words: str) -> None:
        super().__init__(words)
        self.error = error


@dataclass(frozen=True)
class Wish:
    """The parameters `prompt` and `max_age`."""

    prompts: frozenset[str]
    max_age: timedelta | None

    @property
    def silent(self) -> bool:
        return "none" in self.prompts


def read(parameters: Mapping[str, str]) -> Wish:
    """Raises Unanswerable for parameters that are malformed, contradict one another, or that nothing here reads."""
    for name in _UNREAD:
        if name in parameters:
            raise Unanswerable(f"{name}_not_supported", f"The parameter {name} is not read here.")
    if parameters.get("response_mode", "query") != "query":
        raise Unanswerable("invalid_request", "response_mode must be query, or left out")
    prompts = frozenset(parameters.get("prompt", "").split())
    if "none" in prompts and len(prompts) > 1:
        raise Unanswerable("invalid_request", "prompt=none goes with no other prompt")
    age = parameters.get("max_age", "")
    if age and not (age.isascii() and age.isdigit() and len(age) <= 9):
        raise Unanswerable("invalid_request", "max_age is a number of seconds")
    return Wish(prompts, timedelta(seconds=int(age)) if age else None)


def decide(wish: Wish, *, signed_in_at: datetime | None, consented: bool, now: datetime) -> Next:
    """What comes next.

    Args:
        signed_in_at: when the person signed in; None if nobody is signed in.
        consented: this person approved the same before, and that login lives.

    Raises:
        Unanswerable: nobody may be asked, but somebody would have to be.
    """
    too_old = signed_in_at is not None and wish.max_age is not None and now - signed_in_at > wish.max_age
    if wish.silent:
        if signed_in_at is None or too_old:
            raise Unanswerable("login_required", "The person would have to sign in.")
        if not consented:
            raise Unanswerable("consent_required", "The person would have to approve this.")
        return Next.GO_BACK
    if too_old or not wish.prompts.isdisjoint(("login", "select_account")):
        return Next.SIGN_IN_AGAIN
    if signed_in_at is None:
        return Next.SIGN_IN
    return Next.GO_BACK if consented and "consent" not in wish.prompts else Next.ASK
