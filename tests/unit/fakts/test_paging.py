"""Where a page of a list starts, as the client says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.problems import Invalid
from services.fakts.api.paging import Asked

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
    ],
)
def test_what_is_no_moment_of_the_calendar_is_refused(after: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="no marker or cursor"):
        _ = _asked(*after).after_moment
