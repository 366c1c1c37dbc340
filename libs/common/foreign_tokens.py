"""Tokens of trusted issuers outside of the platform: fakts says once for whom each is, which holds until it ends.

Which issuers are trusted comes with the identity feed, so fakts is asked about no others, and one that is trusted no
more is refused with the next change. Accounts are those of the feed: what a token may do is decided anew each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import orjson
from joserfc.util import urlsafe_b64decode

from libs.common.contracts.identity import FULL_PERMISSIONS, Principal, PrincipalKind, Vouched
from libs.common.directory import Directory

Exchange = Callable[[str], Awaitable[Vouched]]
"""Asks fakts. Raises problems.Unauthenticated, or problems.Unavailable when it does not answer."""

MOST = 10_000
"""Tokens that are remembered."""
QUESTIONS = 8
"""That one service has under way at once."""


@dataclass(frozen=True, slots=True)
class Known:
    principal: Principal
    expires: float
    """Unix time after which the token is not good any more."""
    issuer_id: UUID


class ForeignTokens:
    """Args:
    exchange: asks fakts about a token; None trusts nobody.
    refresh: catches up with the identity feed, where a user that was just made appears.
    """

    def __init__(
        self, directory: Directory, exchange: Exchange | None, refresh: Callable[[], Awaitable[bool]] | None
    ) -> None:
        self._directory = directory
        self._exchange = exchange
        self._refresh = refresh
        self._vouched: dict[bytes, Vouched] = {}
        self._questions = asyncio.Semaphore(QUESTIONS)
        self._under_way: dict[bytes, asyncio.Task[None]] = {}

    def trusts(self, token: str) -> bool:
        """The token says that it is of a trusted issuer. Whether that is true is not checked here."""
        issuers = self._directory.issuers
        if self._exchange is None or not issuers:
            return False
        issuer = issuer_of(token)
        return any(trusted.issuer == issuer for trusted in issuers.values())

    def at_hand(self, token: str) -> Known | None:
        """For whom a token is that was found good before, as its account and issuer are now."""
        if not self._vouched:
            return None
        vouched = self._vouched.get(_digest(token))
        if vouched is None or vouched.expires <= time.time() or str(vouched.issuer_id) not in self._directory.issuers:
            return None
        account = self._directory.accounts.get(vouched.account.name)
        if account is None or not account.active or account.id != vouched.account.id:
            return None
        principal = Principal(
            kind=PrincipalKind.ACCOUNT,
            name=account.name,
            account_id=account.id,
            staff=account.staff,
            session_limit=account.session_limit,
            permissions=FULL_PERMISSIONS,
            organizations=account.organizations,
        )
        return Known(principal, vouched.expires, vouched.issuer_id)

    async def find(self, token: str) -> Principal | None:
        """For whom a token of a trusted issuer is. Many who ask for one token share one question.

        Raises Unauthenticated, or Unavailable when fakts must be asked and does not answer.
        """
        if (known := self.at_hand(token)) is not None:
            return known.principal
        digest = _digest(token)
        question = self._under_way.get(digest)
        if question is None:
            question = self._under_way[digest] = asyncio.create_task(self._ask(token))
            question.add_done_callback(lambda _: self._under_way.pop(digest, None))
        await asyncio.shield(question)
        known = self.at_hand(token)
        return known.principal if known is not None else None

    async def _ask(self, token: str) -> None:
        assert self._exchange is not None  # noqa: S101 - without one, no token is trusted
        async with self._questions:
            vouched = await self._exchange(token)
        if len(self._vouched) >= MOST:
            self._vouched.clear()
        self._vouched[_digest(token)] = vouched
        if vouched.account.name not in self._directory.accounts and self._refresh is not None:
            await self._refresh()


def issuer_of(token: str) -> str | None:
    """Claim `iss` of a JWT, unverified; None for what is no JWT."""
    try:
        issuer = orjson.loads(urlsafe_b64decode(token.split(".")[1].encode()))["iss"]
    except (ValueError, LookupError, TypeError):
        return None
    return issuer if isinstance(issuer, str) else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
