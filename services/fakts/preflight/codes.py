"""The codes that people see: short, hard to misread, and read as people type them. Pure but for chance."""

from __future__ import annotations

import re
import secrets

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628, section 6.1: no vowels, so no words; nothing that looks like another; the same in either case."""
SHORT, LONG = 8, 16
"""Of a code that only a person uses, and of one that is also the secret that an app polls with."""
_GROUP = 4
_TYPED = re.compile(r"[\s\-_.]")


def new(length: int) -> str:
    """A code as it is shown: `WDJB-MJHT`."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(length))
    return "-".join(text[at : at + _GROUP] for at in range(0, length, _GROUP))


def normal(code: str) -> str:
    """The code, however somebody typed it."""
    return _TYPED.sub("", code).upper()
