"""Which identifiers a mandate covers."""

from __future__ import annotations

import pytest

from services.fakts.preflight.patterns import covers


@pytest.mark.parametrize(
    ("pattern", "identifier"),
    [("*", "anything"), ("a.b", "a.b"), ("a.*", "a.b.c"), ("*.b", "x.b"), ("a*c", "ac"), ("a.*", "a.\n")],
)
def test_a_star_stands_for_any_text(pattern: str, identifier: str) -> None:
    assert covers([pattern], identifier)


@pytest.mark.parametrize(
    ("pattern", "identifier"),
    [
        ("a.b", "axb"),
        ("a.b", "a.bc"),
        ("a.*", "xa.b"),
        ("a[bc]", "ab"),
        ("a?", "ab"),
        ("ab.*", "abx"),
    ],
)
def test_everything_else_is_meant_literally(pattern: str, identifier: str) -> None:
    assert not covers([pattern], identifier)


def test_one_of_several_patterns_is_enough() -> None:
    assert covers(["a", "b"], "b")
    assert not covers([], "b")
