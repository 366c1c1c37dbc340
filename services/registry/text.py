"""Text from outside, as PostgreSQL can keep it. Pure."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def storable(value: T) -> T:
    """Text without NUL, which PostgreSQL refuses; any other value as it is."""
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", "\ufffd")  # type: ignore[return-value]
    return value
