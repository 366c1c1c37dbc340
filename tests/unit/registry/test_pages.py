"""Limits and markers of lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pages import number, text
from libs.common.problems import Invalid
from services.registry.pages import Paging


def test_fifty_from_the_start_when_nothing_is_said() -> None:
    assert Paging.parse(None, None, number) == Paging(limit=50, after=None)
    assert Paging.parse("", "", number) == Paging(limit=50, after=None)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1.5", "9" * 30, "1_0", "0" * 8 + "19999", "\u0665"])
def test_a_limit_out_of_range_is_refused_with_its_code(limit: str) -> None:
    with pytest.raises(Invalid, match="from 1 to 1000") as refused:
        Paging.parse(limit, None, number)
    assert refused.value.code == 5003


@given(marker=st.text(min_size=1, max_size=40))
def test_no_text_as_a_marker_makes_reading_it_fail(marker: str) -> None:
    outcome: object
    try:
        outcome = len(Paging.parse(None, marker, number, text).after or ())
    except Invalid as refused:
        outcome = refused.code
    assert outcome in (2, 5002)


@pytest.mark.parametrize(
    "marker",
    [
        "not base64!",
        "WzFd",
        "eyJhIjogMX0",
        "WyJ4Il0",
        "WzEsICJcdTAwMDAiXQ",
        "WzFlNDAwLCAiYSJd",
        "NQ",
        "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2LCAiYSJd",
    ],
)
def test_a_marker_of_something_else_is_refused_with_its_code(marker: str) -> None:
    with pytest.raises(Invalid) as refused:
        Paging.parse(None, marker, number, text)
    assert refused.value.code == 5002


def test_markers_are_read_as_they_were_given_out_before() -> None:
    assert Paging.parse(None, "WzcsICJuXHUwMGU0bWUiXQ", number, text).after == (7, "näme")
    page = Paging(limit=1).page([(7, "näme"), (8, "x")], lambda row: row)
    assert page.marker == "WzcsICJuXHUwMGU0bWUiXQ"


@given(count=st.integers(0, 40), limit=st.integers(1, 10))
def test_following_markers_visits_every_row_once(count: int, limit: int) -> None:
    rows, seen, marker = [(n, f"name{n}") for n in range(count)], [], None
    while True:
        paging = Paging.parse(str(limit), marker, number, text)
        rest = [row for row in rows if paging.after is None or row > paging.after]
        page = paging.page(rest[: limit + 1], lambda row: row)
        seen += page.entries
        marker = page.marker
        if marker is None:
            break
    assert seen == rows
