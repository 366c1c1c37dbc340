"""Pages of lists, and the markers between them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import pages
from libs.common.problems import Invalid

SAID = "start without a marker"
KEY = UUID(int=7)
MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
ZONES = st.timezones() | st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))


def marker_of(*parts: object) -> str:
    return pages.encode(json.dumps(parts, default=str))


def refused(marker: str, read: Callable[[str], Any], *, code: int = pages.BAD_MARKER) -> bool:
    with pytest.raises(Invalid, match=SAID) as found:
        pages.decode(marker, read, SAID, code=code)
    return (found.value.status, found.value.code) == (400, code)


@given(place=st.text())
def test_a_marker_stands_for_the_place_it_was_made_of(place: str) -> None:
    marker = pages.encode(place)
    assert pages.decode(marker, str, SAID) == place
    assert not set(marker) & set("=+/&?#%"), "it needs no quoting in an address"


@given(
    number=st.integers(0, (1 << 63) - 1),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    key=st.uuids(),
    moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES),
)
def test_each_kind_of_part_is_read_as_it_was(number: int, text: str, key: UUID, moment: datetime) -> None:
    read = pages.parts(pages.number, pages.number, pages.text, pages.identifier, pages.moment)
    found = pages.decode(marker_of(number, str(number), text, key, moment.isoformat()), read, SAID)
    assert found == (number, number, text, key, moment.astimezone(UTC))


def outcome(marker: str, *kinds: Callable[[Any], Any]) -> tuple[Any, ...] | str:
    """The parts of a marker's place, or the words of the refusal."""
    try:
        return pages.decode(marker, pages.parts(*kinds), SAID)
    except Invalid as fault:
        return fault.detail


@given(marker=st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: urlsafe_b64encode(raw).decode()))
def test_garbage_is_refused_in_words(marker: str) -> None:
    assert outcome(marker, pages.number, pages.moment) == SAID


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_any_json_is_read_or_refused_in_words(place: object) -> None:
    found = outcome(pages.encode(json.dumps(place)), pages.number)
    assert found == SAID or 0 <= int(found[0]) < 1 << 63


@pytest.mark.parametrize(
    "marker",
    [
        "not base64!",
        "a",
        "WyJh IiwgMV0",
        "_w",
        "\ud800",
        "é",
        pages.encode("[1"),
        pages.encode("{}"),
        pages.encode('"x"'),
        pages.encode("[" * 100_000),
        marker_of(),
        marker_of("x", 1),
        marker_of("x"),
        marker_of(None),
        marker_of(True),
        marker_of(1.5),
        marker_of(-1),
        marker_of(1 << 63),
        marker_of(1 << 64),
    ],
)
def test_what_is_no_marker_of_a_list_is_refused(marker: str) -> None:
    assert refused(marker, pages.parts(pages.number))


@pytest.mark.parametrize("part", ["\0", 1, None, "\ud800"])
def test_what_the_database_cannot_hold_is_no_text(part: object) -> None:
    assert refused(marker_of(part), pages.parts(pages.text), code=6001)


@pytest.mark.parametrize(
    "part", ["2024-01-01T00:00:00", "yesterday", 1, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_what_is_no_moment_of_the_calendar_is_refused(part: object) -> None:
    assert refused(marker_of(part), pages.parts(pages.moment))


@pytest.mark.parametrize("part", ["x", 7, None])
def test_what_is_no_id_is_refused(part: object) -> None:
    assert refused(marker_of(part), pages.parts(pages.identifier))


@given(count=st.integers(0, 40), limit=st.integers(1, 10))
def test_following_markers_visits_every_row_once(count: int, limit: int) -> None:
    rows, seen, after = list(range(count)), [], -1
    while True:
        page = pages.page([row for row in rows if row > after][: limit + 1], limit, str)
        seen += page.entries
        assert len(page.entries) <= limit
        if page.marker is None:
            break
        after = pages.decode(page.marker, int, SAID)
    assert seen == rows


@given(limit=st.integers(1, pages.MAX_LIMIT))
def test_a_limit_within_the_range_is_taken(limit: int) -> None:
    assert pages.limit(str(limit), SAID) == limit
    assert pages.limit(None, SAID) == pages.DEFAULT_LIMIT


@pytest.mark.parametrize("asked", ["", "0", "-1", "1001", "x", "1.5", "1_0", "\u0665", "9" * 30, "0" * 8 + "19999"])
def test_a_limit_out_of_the_range_is_refused(asked: str) -> None:
    with pytest.raises(Invalid, match=SAID) as found:
        pages.limit(asked, SAID)
    assert found.value.code == pages.BAD_LIMIT
