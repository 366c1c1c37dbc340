"""Pages of lists: how many entries, and from where. Pure.

A marker is opaque to clients: the place after which the next page starts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from libs.common.problems import Invalid

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000


@dataclass(frozen=True)
class Page(Generic[T]):
    entries: list[T]
    marker: str | None
    """None on the last page."""


@dataclass(frozen=True)
class Paging:
    """What a request asks for."""

    limit: int = DEFAULT_LIMIT
    after: tuple[Any, ...] | None = None

    @classmethod
    def parse(cls, limit: str | None, marker: str | None, *kinds: Callable[[Any], Any]) -> Paging:
        """From query parameters. Raises Invalid with the API's codes.

        Args:
            kinds: turns each part of the marker's place into its type, or raises ValueError or TypeError.
        """
        return cls(_limit(limit), _place(marker, kinds) if marker else None)

    def page(self, rows: Sequence[T], place: Callable[[T], tuple[Any, ...]]) -> Page[T]:
        """The page of `rows`, which were read with one more than `limit`."""
        kept = list(rows[: self.limit])
        return Page(kept, _marker(place(kept[-1])) if len(rows) > self.limit else None)


def number(part: Any) -> int:
    """A part of a marker that is a number, as the database can hold it. Raises ValueError."""
    if not isinstance(part, int) or not 0 <= part < 1 << 63:
        raise ValueError("not a number")
    return part


def text(part: Any) -> str:
    """A part of a marker that is text, as the database can hold it. Raises ValueError."""
    if not isinstance(part, str) or "\0" in part:
        raise ValueError("not text")
    return part


def identifier(part: Any) -> UUID:
    """A part of a marker that is an id. Raises ValueError."""
    return UUID(str(part))


def _limit(text: str | None) -> int:
    if text is None or text == "":
        return DEFAULT_LIMIT
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise Invalid(f"'limit' must be a number from 1 to {MAX_LIMIT}", code=5003)
    return int(text)


def _marker(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, default=str).encode()).decode().rstrip("=")


def _place(marker: str, kinds: Sequence[Callable[[Any], Any]]) -> tuple[Any, ...]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(marker + "=" * (-len(marker) % 4)))
        return tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, TypeError, OverflowError):
        raise Invalid("this marker did not come from the page before; start without one", code=5002) from None
