"""Where a page of a list starts, as the client says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.problems import Invalid
from services.fakts.api.paging import Asked, cursored, marked

KEY = UUID(int=1)


def _asked(*after: str) -> Asked:
    return Asked(10, after, "http://fakts.test/list")


def test_a_position_by_time_is_in_utc() -> None:
    found = _asked("2024-01-01T02:00:00+02:00", str(KEY)).after_moment
    assert found == (datetime(2024, 1, 1, tzinfo=UTC), KEY)


@pytest.mark.parametrize(
    "after",
    [
        ("0001-01-01T00:00:00+14:00", str(KEY)),
        ("9999-12-31T23:59:59-14:00", str(KEY)),
        ("yesterday", str(KEY)),
        ("2024-01-01T00:00:00Z", "1"),
        ("2024-01-01T00:00:00Z",),
        ("2024-01-01T00:00:00", str(KEY)),
    ],
)
def test_what_is_no_moment_of_the_calendar_is_refused(after: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="no marker or cursor"):
        _ = _asked(*after).after_moment


@pytest.mark.parametrize("after", [("9223372036854775808",), ("-1",), ("1.5",), ("1", "2")])
def test_what_is_no_number_of_a_row_is_refused(after: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="no marker or cursor"):
        _ = _asked(*after).after_number
    assert _asked("7").after_number == 7


def test_a_page_tells_where_the_next_one_starts() -> None:
    asked, items = Asked(2, None, "http://fakts.test/list"), [{"n": n} for n in range(3)]
    place = [["a", 1], ["b", 2], ["c", 3]].__getitem__
    assert cursored(asked, items, place) == {"items": items[:2], "cursor": "WyJiIiwiMiJd"}
    assert cursored(asked, items[:2], place)["cursor"] is None
    assert marked(asked, items, place) == {
        "marker": "WyJiIiwiMiJd",
        "next_link": "http://fakts.test/list?limit=2&marker=WyJiIiwiMiJd",
        "results": items[:2],
    }
