"""Patterns with `*` for any text, as mandates, redeem tokens and rules have them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_WILDCARDS = 3
"""More would make matching slow."""


def check(pattern: str) -> str:
    """Raises ValueError for what is no pattern."""
    if not 1 <= len(pattern) <= 255 or pattern.count("*") > MAX_WILDCARDS:
        raise ValueError(
            f"'{pattern[:40]}' is no pattern: 1 to 255 characters, and at most {MAX_WILDCARDS} times '*'"
        )
    return pattern


def covers(patterns: Iterable[str], text: str) -> bool:
    """Does one of the patterns match all of the text?"""
    return any(
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL)
        for pattern in patterns
    )
