"""Failed attempts to sign in: counted over a sliding window, in memory.

Each instance of fakts counts for itself, and forgets when it restarts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from services.fakts.limits import Rate
from services.fakts.where import source


class Attempts(Rate):
    """Counts failed attempts per subject, such as a user name and an address.

    Each is counted before it is known how it ends: many at once are as many.
    """

    def __init__(
        self,
        *,
        allowed: int = 10,
        seconds: float = 300.0,
        subjects: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(allowed, seconds, what="failed attempts", subjects=subjects, clock=clock)

    @property
    def remembered(self) -> int:
        """How many subjects."""
        return len(self._seen)

    def take_back(self, subject: str) -> None:
        """The attempt that was counted last was none."""
        seen = self._seen.get(subject)
        if seen:
            seen.pop()
        if not seen:
            self.forgive(subject)

    def forgive(self, subject: str) -> None:
        """Forget all of them."""
        self._seen.pop(subject, None)


class SignInAttempts:
    """By name and address, and by address whatever the names: who tries one password with many names guesses too.

    Args:
        of_name: failures of one name from one address.
        of_address: failures from one address; of IPv6 from one network of 64 bits, which is what one customer has.
    """

    def __init__(self, of_name: Attempts | None = None, of_address: Attempts | None = None) -> None:
        self._of_name = of_name or Attempts()
        self._of_address = of_address or Attempts(allowed=50)

    def begin(self, username: str, address: str) -> None:
        """Count an attempt. Raises TooMany when there were too many. Call `succeeded` when it turned out right.

        Args:
            address: empty where nobody knows the person's. Those are many, so only their names are looked at.
        """
        name, at = _subjects(username, address)
        self._of_name.check(name)
        if at:
            self._of_address.check(at)
            self._of_address.count(at)
        self._of_name.count(name)

    def succeeded(self, username: str, address: str) -> None:
        """Who knows one password may have been guessing others: what else came from there stays counted."""
        name, at = _subjects(username, address)
        self._of_name.forgive(name)
        self._of_address.take_back(at)


def _subjects(username: str, address: str) -> tuple[str, str]:
    """The first as a digest, so that none takes more room than another."""
    at = source(address)
    return hashlib.sha256(f"{username.lower()} {at}".encode(errors="replace")).hexdigest(), at
