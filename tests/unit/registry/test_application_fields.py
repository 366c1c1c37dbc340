"""What an application may be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.applications import MAX_LATENCY_GOAL_MS, reference
from libs.common.contracts.launches import MAX_REPLICAS, VANITY
from libs.common.problems import Unprocessable
from services.registry import application_fields
from services.registry.application_fields import MAX_DEFAULT_BYTES, ApplicationBody

COMMIT = "a" * 40
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
)


@given(st.text("aZ9_-/ .", max_size=40))
def test_a_name_stands_in_an_address_or_is_refused(text: str) -> None:
    try:
        name = application_fields.name(text)
    except Unprocessable:
        return
    assert VANITY.fullmatch(reference(name))
    assert len(name) <= application_fields.MAX_NAME


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a-", "a b", "ä", "x" * 31, "a\n"])
def test_a_name_that_could_not_be_called_is_refused(name: str) -> None:
    with pytest.raises(Unprocessable, match="cannot name an application"):
        application_fields.name(name)


@pytest.mark.parametrize("name", ["d", "digits", "hand-written_digits", "7", "x" * 30])
def test_usual_names_are_taken(name: str) -> None:
    assert application_fields.name(name) == name


@given(JSON)
def test_any_json_is_a_default_answer(value: Any) -> None:
    body = ApplicationBody.model_validate({"name": "x", "default_answer": value})
    assert application_fields.default_answer(body.default_answer) == value


def test_a_default_answer_has_a_size_that_gateways_can_keep() -> None:
    largest = "x" * (MAX_DEFAULT_BYTES - 2)
    assert len(orjson.dumps(application_fields.default_answer(largest))) == MAX_DEFAULT_BYTES
    with pytest.raises(Unprocessable, match="65537 bytes"):
        application_fields.default_answer(largest + "x")


@given(st.integers())
def test_goals_and_replicas_have_a_range(number: int) -> None:
    for check, most in (
        (application_fields.latency_goal, MAX_LATENCY_GOAL_MS),
        (application_fields.replicas, MAX_REPLICAS),
    ):
        if 1 <= number <= most:
            assert check(number) == number
        else:
            with pytest.raises(Unprocessable, match=f"use 1 to {most}"):
                check(number)


def test_no_goal_is_possible_and_no_replicas_are_not() -> None:
    assert application_fields.latency_goal(None) is None
    with pytest.raises(Unprocessable, match="unlink the version"):
        application_fields.replicas(0)


def test_a_version_is_taken_apart_or_refused() -> None:
    assert application_fields.version(f"algo://joe/digits/{COMMIT.upper()}") == ("joe", "digits", COMMIT)
    for text in ("joe/digits", f"joe/{COMMIT}", f"joe/digits/{COMMIT}/x", "joe/digits/1.0.0", ""):
        with pytest.raises(Unprocessable, match="is not OWNER/NAME/HASH"):
            application_fields.version(text)
