"""What a satellite may hold."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.problems import Unprocessable
from services.registry import satellite_entries
from services.registry.satellite_entries import EntryBody

COMMIT = "a" * 40
GOOD: dict[str, Any] = {"algorithm": f"joe/hello/{COMMIT}", "vanity_url": "foo/bar-baz", "replicas": 2}


def entry(**changes: Any) -> EntryBody:
    return EntryBody.model_validate(GOOD | changes)


def test_an_entry_is_taken_apart() -> None:
    (found,) = satellite_entries.read([entry(algorithm=f"algo://joe/hello/{COMMIT.upper()}")])
    assert (found.owner, found.name, found.commit) == ("joe", "hello", COMMIT)
    assert (found.vanity_url, found.replicas) == ("foo/bar-baz", 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "joe/hello"}, "OWNER/NAME/HASH"),
        ({"algorithm": "joe/hello/0.1.0"}, "40 hex digits"),
        ({"algorithm": f"1joe/hello/{COMMIT}"}, "OWNER/NAME/HASH"),
        ({"algorithm": f"joe/hello/{COMMIT}/x"}, "OWNER/NAME/HASH"),
        ({"vanity_url": "foo"}, "word/word"),
        ({"vanity_url": "foo/bar/baz"}, "word/word"),
        ({"vanity_url": "-foo/bar"}, "word/word"),
        ({"vanity_url": "foo/bar-"}, "word/word"),
        ({"vanity_url": f"foo/{'b' * 41}"}, "word/word"),
        ({"vanity_url": "../etc"}, "word/word"),
        ({"replicas": 0}, "leave the algorithm out"),
        ({"replicas": -1}, "1 to 1000"),
        ({"replicas": 1_000_000}, "1 to 1000"),
    ],
)
def test_what_an_entry_cannot_be_is_said_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        satellite_entries.read([entry(vanity_url="a/b"), entry(**changes)])
    assert refused.value.detail.startswith("algorithms[1]: ")
    assert words in refused.value.detail


def test_each_has_a_vanity_url_of_its_own_whatever_the_case() -> None:
    with pytest.raises(
        Unprocessable, match=r"algorithms\[1\]: the vanity URL 'Foo/Bar' is that of algorithms\[0\] too"
    ):
        satellite_entries.read([entry(vanity_url="foo/bar"), entry(vanity_url="Foo/Bar")])


def test_a_satellite_is_neither_empty_nor_endless() -> None:
    with pytest.raises(Unprocessable, match="at least one"):
        satellite_entries.read([])
    with pytest.raises(Unprocessable, match="at most 200"):
        satellite_entries.read([entry(vanity_url=f"a/b{number}") for number in range(201)])


def test_names() -> None:
    assert satellite_entries.name("  edge one ", "launch") == "edge one"
    for bad in ("", "   ", "x" * 101, "a\nb"):
        with pytest.raises(Unprocessable, match="name of a launch"):
            satellite_entries.name(bad, "launch")
