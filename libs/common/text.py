"""Text that all parts of the platform can keep and pass on: databases take no NUL, UTF-8 no half character. Pure."""

from __future__ import annotations

import math
from typing import Any

_MAX_DEPTH = 32


def plain(text: str) -> str:
    """The text, if a database keeps it. Raises ValueError for a NUL character or half a surrogate pair."""
    if "\x00" in text:
        raise ValueError("a NUL character is not allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


def storable(text: str, limit: int | None = None) -> str:
    """At most `limit` characters of what others wrote or printed; in place of what is not plain, other characters."""
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def check_json(value: Any) -> None:
    """Raises ValueError when a JSON value holds text that is not `plain`, no number, or is nested too deeply."""
    level, depth = [value], 0
    while level:
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                plain(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise ValueError("a number is too large")
            elif isinstance(one, dict):
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple):
                below += one
        level, depth = below, depth + 1
