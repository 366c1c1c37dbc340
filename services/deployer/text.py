"""Text that others send, made fit for a column. Pure."""

from __future__ import annotations


def storable(text: str, limit: int) -> str:
    """At most `limit` characters, without those that PostgreSQL cannot keep (NUL, half of a surrogate pair)."""
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
