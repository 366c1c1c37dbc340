"""Tokens of trusted issuers, as a service knows them that asks fakts."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from uuid import uuid4

import orjson
import pytest

from libs.common.auth import Authenticator, TokenVerifier
from libs.common.contracts.identity import Account, AccountKind, TrustedIssuer, Vouched
from libs.common.directory import ACCOUNT_PREFIX, ISSUER_PREFIX, Directory
from libs.common.problems import Unauthenticated, Unavailable

ISSUER = TrustedIssuer(id=uuid4(), issuer="https://id.example")
JANE = Account(id=uuid4(), name="jane", kind=AccountKind.USER)


def token(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'iss': ISSUER.issuer, **claims})}.{uuid4().hex}"


async def no_keys() -> dict[str, Any]:
    return {"keys": []}


class Service:
    """A service that follows the feed, with fakts played by `answer`."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.tell(f"{ISSUER_PREFIX}{ISSUER.id}", ISSUER)
        self.asked: list[str] = []
        self.answer: Vouched | Exception = Vouched(issuer_id=ISSUER.id, account=JANE, expires=time.time() + 600)
        self.authenticator = Authenticator(
            TokenVerifier(no_keys), self.directory, refresh=self.refresh, exchange=self.exchange
        )

    def tell(self, key: str, body: Account | TrustedIssuer | None) -> None:
        self.directory.apply(key, body.model_dump(mode="json") if body is not None else None)

    async def refresh(self) -> bool:
        """The user that was made with its first token is in the feed."""
        self.tell(f"{ACCOUNT_PREFIX}jane", JANE)
        return True

    async def exchange(self, raw: str) -> Vouched:
        self.asked.append(raw)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def name(self, raw: str) -> str:
        principal = await self.authenticator.authenticate(f"Bearer {raw}")
        assert principal is not None
        assert principal.permissions.allow_algo_management
        return principal.name


async def test_fakts_is_asked_once_for_each_token() -> None:
    service, one, other = Service(), token(), token()
    assert await asyncio.gather(*(service.name(one) for _ in range(20))) == ["jane"] * 20
    assert await service.name(one) == "jane"
    assert service.asked == [one]
    assert await service.name(other) == "jane"
    assert service.asked == [one, other]


async def test_what_is_known_goes_on_while_fakts_is_down_and_nothing_else() -> None:
    service, known = Service(), token()
    assert await service.name(known) == "jane"
    service.answer = Unavailable("fakts cannot be reached")
    assert await service.name(known) == "jane"
    for _ in range(2):
        with pytest.raises(Unavailable):
            await service.name(token())
    service.answer = Unauthenticated("the token has expired")
    with pytest.raises(Unauthenticated, match="has expired"):
        await service.name(token())


async def test_it_ends_with_its_time_its_account_and_its_issuer() -> None:
    service = Service()
    service.answer = Vouched(issuer_id=ISSUER.id, account=JANE, expires=time.time() - 1)
    with pytest.raises(Unauthenticated):
        await service.name(token())
    service = Service()
    known = token()
    for key, gone, back in (
        (f"{ACCOUNT_PREFIX}jane", JANE.model_copy(update={"active": False}), JANE),
        (f"{ACCOUNT_PREFIX}jane", JANE.model_copy(update={"id": uuid4()}), JANE),
        (f"{ISSUER_PREFIX}{ISSUER.id}", None, ISSUER),
    ):
        assert await service.name(known) == "jane"
        service.tell(key, gone)
        with pytest.raises(Unauthenticated):
            await service.name(known)
        service.tell(key, back)


@pytest.mark.parametrize(
    "raw",
    [token(iss="https://other.example"), token(iss=7), "a.b.c", "..", "a.W10.c"],
    ids=["of another issuer", "of a number", "no JSON", "empty", "no object"],
)
async def test_fakts_is_not_asked_about_tokens_of_others(raw: str) -> None:
    service = Service()
    with pytest.raises(Unauthenticated):
        await service.name(raw)
    assert service.asked == []


async def test_nobody_is_trusted_by_who_cannot_ask() -> None:
    directory = Directory()
    directory.apply(f"{ISSUER_PREFIX}{ISSUER.id}", ISSUER.model_dump(mode="json"))
    with pytest.raises(Unauthenticated):
        await Authenticator(TokenVerifier(no_keys), directory).authenticate(f"Bearer {token()}")
