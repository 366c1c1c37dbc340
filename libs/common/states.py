"""Checked state transitions over a table of the form `{state: states that may follow}`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

S = TypeVar("S", bound=StrEnum)


class IllegalTransition(ValueError):
    """The table does not allow this step."""


def may(table: Mapping[S, frozenset[S]], old: S, new: S) -> bool:
    """Is `new` allowed after `old`? Staying in a state always is: reports repeat themselves."""
    return new == old or new in table[old]


def step(table: Mapping[S, frozenset[S]], old: S, new: S) -> S:
    """Return `new`, or raise IllegalTransition."""
    if not may(table, old, new):
        raise IllegalTransition(f"{type(old).__name__}: {old} cannot become {new}")
    return new
