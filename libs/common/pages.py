"""Lists in pages: how many entries, and from where. Pure.

A marker, which administrators' routes call a cursor, is opaque to clients: the place of a page's last entry, after
which the next page starts. So pages neither skip nor repeat what did not change.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from libs.common.problems import Invalid

T = TypeVar("T")

DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
BAD_MARKER, BAD_LIMIT = 5002, 5003
"""What the Algorithmia management API calls a marker and a limit that it refuses."""
_BIGGEST = (1 << 63) - 1


@dataclass(frozen=True)
class Page(Generic[T]):
    entries: list[T]
    marker: str | None
    """None on the last page."""


def page(rows: Sequence[T], limit: int, place: Callable[[T], str]) -> Page[T]:
    """The page of `rows`, which were read with one more than `limit`. `place` tells where an entry is."""
    kept = list(rows[:limit])
    return Page(kept, encode(place(kept[-1])) if len(rows) > limit else None)


def limit(asked: str | None, said: str) -> int:
    """How many entries a page has at most. Raises Invalid, in the words `said`."""
    if asked is None:
        return DEFAULT_LIMIT
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and 1 <= int(asked) <= MAX_LIMIT):
        raise Invalid(said, code=BAD_LIMIT)
    return int(asked)


def encode(place: str) -> str:
    """The marker of a place."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode(marker: str, read: Callable[[str], T], said: str, *, code: int = BAD_MARKER) -> T:
    """The place of a marker. Raises Invalid, in the words `said`.

    Args:
        read: makes it of its text, or raises ValueError, TypeError or OverflowError.
    """
    try:
        return read(base64.b64decode(marker + "=" * (-len(marker) % 4), altchars=b"-_", validate=True).decode())
    except (ValueError, TypeError, OverflowError):
        raise Invalid(said, code=code) from None


def parts(*kinds: Callable[[Any], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Reads a place that is a JSON list of one part of each of these kinds."""

    def read(place: str) -> tuple[Any, ...]:
        return tuple(kind(part) for kind, part in zip(kinds, listed(place), strict=True))

    return read


def listed(place: str) -> list[Any]:
    """A place that is a JSON list. Raises ValueError."""
    found = orjson.loads(place)
    if not isinstance(found, list):
        raise ValueError("not a list")  # noqa: TRY004 - a wrong value, not a wrong use
    return found


def number(part: Any) -> int:
    """A part of a place that is a number, as the database can hold it. Raises ValueError, TypeError."""
    found = int(part) if isinstance(part, str) else part
    if type(found) is not int or not 0 <= found <= _BIGGEST:
        raise ValueError("not a number")
    return found


def text(part: Any) -> str:
    """A part that is text, as the database can hold it. Raises ValueError."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError("not text")
    return part


def identifier(part: Any) -> UUID:
    """A part that is an id. Raises ValueError."""
    return UUID(text(part))


def moment(part: Any) -> datetime:
    """A part that is a moment, in UTC. Raises ValueError, OverflowError."""
    found = datetime.fromisoformat(text(part))
    if found.tzinfo is None:
        raise ValueError("a moment without its offset")
    return found.astimezone(UTC)
