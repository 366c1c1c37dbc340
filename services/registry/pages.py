"""Pages of lists, as requests ask for them. Pure.

A place holds what rows have, as they have it. Where a list is sorted by `lower(name)`, PostgreSQL makes both sides
of the comparison: what it takes for capital letters depends on the database's locale, and is not what Python does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from libs.common import pages
from libs.common.pages import DEFAULT_LIMIT, MAX_LIMIT, Page

T = TypeVar("T")

_BAD_LIMIT = f"'limit' must be a number from 1 to {MAX_LIMIT}"
_BAD_MARKER = "this marker did not come from the page before; start without one"


@dataclass(frozen=True)
class Paging:
    """What a request asks for."""

    limit: int = DEFAULT_LIMIT
    after: tuple[Any, ...] | None = None

    @classmethod
    def parse(cls, limit: str | None, marker: str | None, *kinds: Callable[[Any], Any]) -> Paging:
        """From query parameters. Raises Invalid with the API's codes.

        Args:
            kinds: what the parts of the marker's place are, of `libs.common.pages`.
        """
        most = pages.limit(limit or None, _BAD_LIMIT)
        return cls(most, pages.decode(marker, pages.parts(*kinds), _BAD_MARKER) if marker else None)

    def page(self, rows: Sequence[T], place: Callable[[T], tuple[Any, ...]]) -> Page[T]:
        """The page of `rows`, which were read with one more than `limit`."""
        return pages.page(rows, self.limit, lambda row: json.dumps(place(row), default=str))
