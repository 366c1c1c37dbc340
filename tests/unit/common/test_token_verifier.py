"""Verifying access tokens: the keys are fetched once for all who wait, and again when a new one signs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from libs.common.auth import TokenVerifier
from tests.support.eventually import eventually


class Issuer:
    """Publishes signing keys, slowly, and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "one"})]
        self.asked = self.answered = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def publish(self) -> dict[str, Any]:
        self.asked += 1
        for _ in range(5):
            await asyncio.sleep(0)
        await self.answers.wait()
        self.answered += 1
        if self.away:
            raise OSError("nobody there")
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def sign(self, **claims: Any) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, {"sub": "x", "exp": time.time() + 60, **claims}, key)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


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


@pytest.fixture
def hanging(issuer: Issuer) -> Iterator[Issuer]:
    """An issuer that takes questions, and leaves them unanswered until `answers` is set; then they fail."""
    yield issuer
    issuer.away = False
    issuer.answers.set()


async def test_nobody_waits_for_new_keys_while_those_at_hand_do(hanging: Issuer) -> None:
    clock = Clock()
    verifier = TokenVerifier(hanging.publish, max_age=300.0, clock=clock)
    token = hanging.sign()
    assert await verifier.claims(token)
    hanging.answers.clear()
    hanging.away, asked, clock.now = True, hanging.asked, 301.0
    async with asyncio.timeout(10):
        assert all(await asyncio.gather(*(verifier.claims(token) for _ in range(10))))
        clock.now += 5.0
        assert await verifier.claims(token)
        hanging.answers.set()
        await eventually(lambda: hanging.answered == hanging.asked)
        clock.now += 3600.0
        hanging.answers.clear()
        assert all(await asyncio.gather(*(verifier.claims(token) for _ in range(10))))
    assert hanging.asked == asked + 2, "one fetch at a time"


async def test_a_fetch_that_fails_fails_for_all_who_waited_for_it(hanging: Issuer) -> None:
    clock = Clock()
    verifier, asked = TokenVerifier(hanging.publish, clock=clock), hanging.asked
    hanging.away = True
    hanging.answers.clear()
    waiting = [asyncio.create_task(verifier.claims(hanging.sign())) for _ in range(10)]
    await asyncio.sleep(0)
    clock.now += 5.0
    hanging.answers.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiting) == [None] * 10
    assert hanging.asked == asked + 1


async def test_keys_that_nobody_asked_for_in_long_are_fetched_before_they_are_trusted() -> None:
    issuer, clock = Issuer(), Clock()
    verifier = TokenVerifier(issuer.publish, max_age=300.0, clock=clock)
    token = issuer.sign()
    assert await verifier.claims(token)
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "two"})]
    clock.now += 86_400.0
    assert await verifier.claims(token) is None
