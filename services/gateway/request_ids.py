"""Request ids: `req-` and a UUID, cheap to make."""

from __future__ import annotations

import itertools
import secrets


class RequestIds:
    """Ids of one process: a random part, made once, and a count. UUIDs of version 8 (RFC 9562)."""

    def __init__(self) -> None:
        part = secrets.token_hex(9)
        self.prefix = f"req-{part[:8]}-{part[8:12]}-8{part[12:15]}-a{part[15:18]}-"
        """With which all of them begin, and those of no other process."""
        self._count = itertools.count(secrets.randbits(44))

    def next(self) -> str:
        return f"{self.prefix}{next(self._count):012x}"
