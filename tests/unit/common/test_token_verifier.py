"""Verifying access tokens: the keys are fetched once for all who wait, and again when a new one signs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from libs.common.auth import TokenVerifier


class Issuer:
    """Publishes signing keys, slowly, and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one"})]
        self.asked = 0
        self.away = False

    async def publish(self) -> dict[str, Any]:
        self.asked += 1
        for _ in range(5):
            await asyncio.sleep(0)
        if self.away:
            raise OSError("nobody there")
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def sign(self, **claims: Any) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, {"sub": "x", "exp": time.time() + 60, **claims}, key)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


async def test_requests_that_come_together_wait_for_one_fetch(issuer: Issuer) -> None:
    verifier, asked = TokenVerifier(issuer.publish), issuer.asked
    found = await asyncio.gather(*(verifier.claims(issuer.sign(n=n)) for n in range(5)))
    assert [claims and claims["n"] for claims in found] == list(range(5))
    assert issuer.asked == asked + 1


async def test_a_new_signing_key_is_fetched_when_it_is_first_seen(issuer: Issuer) -> None:
    verifier = TokenVerifier(issuer.publish, min_interval=0.0)
    assert await verifier.claims(issuer.sign())
    issuer.keys.append(RSAKey.generate_key(2048, {"kid": "two"}))
    assert await verifier.claims(issuer.sign())


async def test_tokens_that_are_expired_forged_or_broken_are_none_and_ask_at_most_once(issuer: Issuer) -> None:
    verifier = TokenVerifier(issuer.publish, min_interval=60.0)
    assert await verifier.claims(issuer.sign())
    asked = issuer.asked
    forged = jwt.encode(
        {"alg": "RS256", "kid": "one"}, {"sub": "x", "exp": time.time() + 60}, RSAKey.generate_key(2048)
    )
    for token in (issuer.sign(exp=time.time() - 3600), forged, "a.b.c", ""):
        assert await verifier.claims(token) is None
    assert issuer.asked == asked


async def test_known_keys_stay_good_while_the_issuer_is_away(issuer: Issuer) -> None:
    verifier = TokenVerifier(issuer.publish, min_interval=0.0, max_age=0.0)
    assert await verifier.claims(issuer.sign())
    issuer.away = True
    try:
        assert await verifier.claims(issuer.sign())
    finally:
        issuer.away = False
