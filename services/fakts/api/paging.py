"""Lists in pages: `limit` and `marker` on the `/v1` routes, `limit` and `cursor` on administrators' routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import Depends, Request

from libs.common import pages
from libs.common.pages import BAD_MARKER, MAX_LIMIT
from libs.common.problems import Invalid
from services.fakts.context import RequestOrigin

T = TypeVar("T")

_BAD_LIMIT = f"limit is a number from 1 to {MAX_LIMIT}"
_BAD_PLACE = "this is no marker or cursor of this list; leave it out to start over"


@dataclass(frozen=True)
class Asked:
    """Which page is asked for."""

    limit: int
    after: tuple[str, ...] | None
    url: str
    """Of the list, without a query."""

    @property
    def one_more(self) -> int:
        """What to read: one item beyond the page tells whether there is a next one."""
        return self.limit + 1

    @property
    def after_name(self) -> str:
        return self._read(lambda name: name) or ""

    @property
    def after_number(self) -> int:
        return self._read(pages.number) or 0

    @property
    def after_moment(self) -> tuple[datetime, UUID] | None:
        return self._read(lambda moment, key: (pages.moment(moment), pages.identifier(key)))

    def _read(self, parse: Callable[..., T]) -> T | None:
        if self.after is None:
            return None
        try:
            return parse(*self.after)
        except (TypeError, ValueError, OverflowError):
            raise Invalid(_BAD_PLACE, code=BAD_MARKER) from None


async def _marked(
    request: Request, origin: RequestOrigin, limit: str | None = None, marker: str | None = None
) -> Asked:
    return _asked(limit, marker, f"{origin.url}{request.url.path}")


async def _cursored(
    request: Request, origin: RequestOrigin, limit: str | None = None, cursor: str | None = None
) -> Asked:
    return _asked(limit, cursor, f"{origin.url}{request.url.path}")


MarkedPage = Annotated[Asked, Depends(_marked)]
CursorPage = Annotated[Asked, Depends(_cursored)]


def marked(asked: Asked, items: Sequence[dict[str, Any]], place: Callable[[int], Sequence[Any]]) -> dict[str, Any]:
    """A page of a `/v1` list. `place` tells the position of an item."""
    marker = _next(asked, items, place)
    link = f"{asked.url}?{urlencode({'limit': asked.limit, 'marker': marker})}" if marker else None
    return {"marker": marker, "next_link": link, "results": list(items[: asked.limit])}


def cursored(asked: Asked, items: Sequence[dict[str, Any]], place: Callable[[int], Sequence[Any]]) -> dict[str, Any]:
    """A page of an administrators' list. `place` tells the position of an item."""
    return {"items": list(items[: asked.limit]), "cursor": _next(asked, items, place)}


def _next(asked: Asked, items: Sequence[object], place: Callable[[int], Sequence[Any]]) -> str | None:
    found = pages.page(
        range(len(items)), asked.limit, lambda i: orjson.dumps([str(part) for part in place(i)]).decode()
    )
    return found.marker


def _asked(limit: str | None, marker: str | None, url: str) -> Asked:
    """Raises Invalid."""
    most = pages.limit(limit, _BAD_LIMIT)
    return Asked(most, pages.decode(marker, _texts, _BAD_PLACE) if marker else None, url)


def _texts(place: str) -> tuple[str, ...]:
    """The parts of a position. Raises ValueError."""
    return tuple(pages.text(part) for part in pages.listed(place))
