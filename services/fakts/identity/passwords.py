"""Passwords: argon2id (RFC 9106), computed in threads, and nothing to learn from how long a check takes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from libs.common.problems import Invalid, TooMany

MIN_LENGTH = 8
MAX_LENGTH = 1024
_AT_ONCE = 2
"""A hash takes 64 MiB of memory."""


class Passwords:
    """Hashes and verifies."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._decoy = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """Raises Invalid for a password that is too short or too long."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise Invalid(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Is it the password? Without a stored one the same work is done, for nothing."""
        async with self._room:
            right = await asyncio.to_thread(self._matches, stored or self._decoy, password)
        return right and stored is not None

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False


class Attempts:
    """Counts failed attempts per subject, such as a user name and an address, over a sliding window.

    Kept in memory: each instance of fakts counts for itself, and forgets when it restarts.
    """

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
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, subject: str) -> None:
        """Count an attempt. Raises TooMany when there were too many. Call `forgive` when it turned out right."""
        now = self._clock()
        recent = [at for at in self._failures.pop(subject, []) if at > now - self._seconds]
        self._failures[subject] = recent
        if len(recent) >= self._allowed:
            wait = max(1, round(recent[0] + self._seconds - now))
            raise TooMany(f"too many failed attempts; try again in {wait} s", retry_after=wait)
        recent.append(now)
        while len(self._failures) > self._subjects:
            self._failures.popitem(last=False)

    def forgive(self, subject: str) -> None:
        self._failures.pop(subject, None)
