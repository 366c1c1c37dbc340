"""Entity tags, and the precondition `If-Match` (RFC 9110, sections 8.8.3 and 13.1.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from libs.common.problems import Invalid

_NEXT = re.compile(r'[ \t,]*(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')


def strong(value: object) -> str:
    """The entity tag of something that this value tells from what it was before."""
    return f'"{value}"'


def matches(if_match: Sequence[str], current: str) -> bool:
    """Does If-Match hold for what has the entity tag `current`? Weak tags never match, as section 13.1.1 asks.

    Args:
        if_match: the values of all its lines.

    Raises:
        Invalid: they cannot be read.
    """
    said = ",".join(if_match)
    if said.strip(" \t") == "*":
        return True
    end, found = 0, False
    while one := _NEXT.match(said, end):
        end = one.end()
        found = found or (one["weak"] is None and one["tag"] == current)
    if end == 0 or said[end:].strip(" \t,"):
        raise Invalid(f"If-Match cannot be read: it is * or a list of entity tags in quotes, such as {current}")
    return found
