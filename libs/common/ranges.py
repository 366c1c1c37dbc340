"""The part of a file that a request asks for: one range of bytes (RFC 9110, 14). Pure."""

from __future__ import annotations

import re

_ONE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII)


class Unsatisfiable(ValueError):
    """The range has no byte of the file."""


def span(header: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last; None for the whole file.

    A header that cannot be read, or that asks for several ranges, is ignored, as the RFC allows (14.2).

    Args:
        header: the value of Range; empty when there is none.
        size: of the file, in bytes.

    Raises:
        Unsatisfiable: the answer is 416.
    """
    found = _ONE.fullmatch(header)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Unsatisfiable(f"the range '{header}' has no byte of the file, which has {size}")
    return start, end
