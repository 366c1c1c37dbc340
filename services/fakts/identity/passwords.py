"""Passwords: argon2id (RFC 9106), computed in threads, and nothing to learn from how long a check takes."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from libs.common.problems import Invalid

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
