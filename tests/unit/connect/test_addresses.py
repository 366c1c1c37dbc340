"""Which address of a service is used."""

from __future__ import annotations

import asyncio
import base64

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common.connect.addresses import Addresses
from libs.common.connect.aliases import order, signed
from libs.common.contracts.joining import Alias, Instance
from tests.unit.connect.platform import Platform

FIRST, SECOND = "http://one.example:1", "http://two.example:2"


def alias(name: str, reach: str | None = None) -> Alias:
    return Alias.model_validate({"id": name, "host": name, "reach": reach})


def instance(platform: Platform) -> Instance:
    return Instance.model_validate(platform.instances["stats"])


def test_near_addresses_come_first_and_foreign_loopback_ones_never() -> None:
    aliases = [
        alias("public", "public"),
        alias("internal", "internal"),
        alias("lan", "lan"),
        alias("any"),
        alias("loopback", "loopback"),
    ]

    def names(*, same_machine: bool, in_container: bool = False) -> list[str]:
        return [one.id for one in order(aliases, same_machine=same_machine, in_container=in_container)]

    assert names(same_machine=True) == ["loopback", "lan", "any", "public", "internal"]
    assert names(same_machine=False) == ["lan", "any", "public", "internal"]
    assert names(same_machine=False, in_container=True) == ["internal", "lan", "any", "public"]


async def test_the_first_that_answers_is_used_and_remembered() -> None:
    platform = Platform()
    platform.offer(FIRST, SECOND)
    platform.alive = {SECOND}
    async with httpx.AsyncClient(transport=platform.transport) as http:
        addresses = Addresses(http, same_machine=False)
        found = await addresses.find(instance(platform))
        assert found is not None
        assert found.url == SECOND
        platform.alive = {FIRST}
        assert await addresses.find(instance(platform)) == found
        addresses.forget(instance(platform))
        moved = await addresses.find(instance(platform))
        assert moved is not None
        assert moved.url == FIRST
        platform.alive = set()
        addresses.forget(instance(platform))
        assert await addresses.find(instance(platform)) is None


async def test_a_silent_address_does_not_hold_up_the_next() -> None:
    platform = Platform()
    platform.offer(FIRST, SECOND)
    cancelled = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "one.example":
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.set()
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        found = await Addresses(http, same_machine=False).find(instance(platform))
    assert found is not None
    assert found.url == SECOND
    assert cancelled.is_set()


async def test_a_signed_service_is_not_taken_for_another_one() -> None:
    mine, others = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    platform = Platform()
    public = base64.b64encode(mine.public_key().public_bytes_raw()).decode()
    platform.offer(FIRST, challenge_key={"kind": "ed25519", "key": public})
    platform.alive = {FIRST}
    async with httpx.AsyncClient(transport=platform.transport) as http:
        addresses = Addresses(http, same_machine=False)
        for signer in (None, others):
            platform.service_key = signer
            assert await addresses.find(instance(platform)) is None
        platform.service_key = mine
        assert await addresses.find(instance(platform)) is not None
        nonces = [request.url.params["nonce"] for request in platform.requests]
        assert len(set(nonces)) == 3


async def test_only_a_plain_200_is_an_answer() -> None:
    platform = Platform()
    platform.offer(FIRST)
    for answer in (httpx.Response(404), httpx.Response(302, headers={"location": "/x"}), httpx.Response(204)):
        transport = httpx.MockTransport(lambda _, answer=answer: answer)
        async with httpx.AsyncClient(transport=transport, follow_redirects=True) as http:
            assert await Addresses(http, same_machine=False).find(instance(platform)) is None


def test_a_malformed_signature_is_none() -> None:
    key = {"kind": "ed25519", "key": base64.b64encode(bytes(32)).decode()}
    answers: tuple[object, ...] = ({"signature": "!"}, {"signature": ""}, {}, [], None)
    for answer in answers:
        assert not signed(answer, "n", key)
    assert not signed({"signature": ""}, "n", {"kind": "rsa", "key": "x"})
    assert not signed({"signature": ""}, "n", {"kind": "ed25519", "key": "x"})
