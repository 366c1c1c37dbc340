"""Lists in pages: `limit` and `marker` on the `/v1` routes, `limit` and `cursor` on administrators' routes.

A marker or cursor names the last item of a page, so pages neither skip nor repeat what did not change.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import Depends, Request

from libs.common.problems import Invalid
from services.fakts.context import RequestOrigin

T = TypeVar("T")

DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
BAD_MARKER, BAD_LIMIT = 5002, 5003


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
        return self._read(int) or 0

    @property
    def after_moment(self) -> tuple[datetime, UUID] | None:
        return self._read(lambda moment, key: (datetime.fromisoformat(moment).astimezone(UTC), UUID(key)))

    def _read(self, parse: Callable[..., T]) -> T | None:
        if self.after is None:
            return None
        try:
            return parse(*self.after)
        except (TypeError, ValueError, OverflowError):
            raise _bad_position() from None


async def _marked(
    request: Request, origin: RequestOrigin, limit: str | None = None, marker: str | None = None
) -> Asked:
    return Asked(_limit(limit), _position(marker), f"{origin.url}{request.url.path}")


async def _cursored(
    request: Request, origin: RequestOrigin, limit: str | None = None, cursor: str | None = None
) -> Asked:
    return Asked(_limit(limit), _position(cursor), f"{origin.url}{request.url.path}")


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
    if len(items) <= asked.limit:
        return None
    position = [str(part) for part in place(asked.limit - 1)]
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise Invalid(f"limit is a number from 1 to {MAX_LIMIT}", code=BAD_LIMIT)
    return int(text)


def _position(text: str | None) -> tuple[str, ...] | None:
    if not text:
        return None
    try:
        parts = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except ValueError:
        raise _bad_position() from None
    if not isinstance(parts, list) or not all(isinstance(part, str) and "\x00" not in part for part in parts):
        raise _bad_position()
    return tuple(parts)


def _bad_position() -> Invalid:
    return Invalid("this is no marker or cursor of this list; leave it out to start over", code=BAD_MARKER)
