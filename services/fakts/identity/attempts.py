"""Failed attempts to sign in: counted over a sliding window, in memory.

Each instance of fakts counts for itself, and forgets when it restarts.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from libs.common.problems import TooMany
from services.fakts.where import source


class Attempts:
    """Counts failed attempts per subject, such as a user name and an address."""

    def __init__(
        self,
        *,
        allowed: int = 10,
        seconds: float = 300.0,
        subjects: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._seconds = seconds
        self._subjects = subjects
        self._clock = clock
        self._failures: OrderedDict[bytes, list[float]] = OrderedDict()
        """By digest of the subject, so that none takes more room than another; the one counted last is last."""

    @property
    def remembered(self) -> int:
        """How many subjects."""
        return len(self._failures)

    def check(self, subject: str) -> None:
        """Raises TooMany when there were too many."""
        now = self._clock()
        recent = [at for at in self._failures.get(_digest(subject), ()) if at > now - self._seconds]
        if len(recent) >= self._allowed:
            wait = max(1, round(recent[0] + self._seconds - now))
            raise TooMany(f"too many failed attempts; try again in {wait} s", retry_after=wait)

    def count(self, subject: str) -> None:
        """Count an attempt, before it is known how it ends: many at once are as many."""
        now = self._clock()
        digest = _digest(subject)
        recent = [at for at in self._failures.pop(digest, ()) if at > now - self._seconds]
        self._failures[digest] = [*recent, now]
        while len(self._failures) > self._subjects or self._first() <= now - self._seconds:
            self._failures.popitem(last=False)

    def take_back(self, subject: str) -> None:
        """The attempt that was counted last was none."""
        recent = self._failures.get(_digest(subject), [])
        del recent[-1:]
        if not recent:
            self.forgive(subject)

    def forgive(self, subject: str) -> None:
        """Forget all of them."""
        self._failures.pop(_digest(subject), None)

    def _first(self) -> float:
        """When the subject was last counted that was longest quiet."""
        return next(iter(self._failures.values()))[-1]


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
    at = source(address)
    return f"{username.lower()} {at}", at


def _digest(subject: str) -> bytes:
    return hashlib.sha256(subject.encode(errors="replace")).digest()
