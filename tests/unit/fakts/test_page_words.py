"""What pages say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.fakts.pages import words

NOW = datetime(2030, 3, 4, 5, 6, tzinfo=UTC)


def test_scopes_are_told_once_and_unknown_ones_without_a_meaning() -> None:
    told = words.scopes(["algo:call", "live.example:read", "algo:call"])
    assert told == [("algo:call", "Call algorithms as you"), ("live.example:read", None)]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 seconds"), (59, "59 seconds"), (300, "5 minutes"), (7200, "2 hours")],
)
def test_time_left(seconds: float, told: str) -> None:
    assert words.time_left(NOW + timedelta(seconds=seconds), NOW) == told


def test_moments_and_sentences() -> None:
    assert words.moment(NOW) == "4 Mar 2030, 05:06 UTC"
    assert words.sentence("wrong user name") == "Wrong user name."
    assert words.sentence("It ended.") == "It ended."


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iOS"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("", "A browser"),
    ],
)
def test_browsers(agent: str, told: str) -> None:
    assert words.browser(agent) == told
