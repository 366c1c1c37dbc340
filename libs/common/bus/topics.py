"""Which topics a pattern matches, as an AMQP topic exchange decides it."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(pattern: str, topic: str) -> bool:
    """Whether the topic matches: `*` is exactly one word, `#` is none or more."""
    return _expression(pattern).fullmatch(f"{topic}.") is not None


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    """Matches topics that end in a dot, so that each word is followed by one."""
    words = {"*": r"[^.]+\.", "#": r"(?:[^.]+\.)*"}
    return re.compile("".join(words.get(word) or re.escape(f"{word}.") for word in pattern.split(".")))
