"""Algorithms that call algorithms, for their callers."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.common.contracts.catalog import Callability
from libs.common.contracts.identity import Permissions
from services.gateway.admission import MAX_DEPTH
from services.gateway.call_tokens import CallTokens
from services.gateway.calls import MAX_PARALLEL
from tests.service.gateway.conftest import SECRET, Platform
from tests.service.gateway.doubles import Answer, Asked, ReplicaDouble, entry, envelope, revision
from tests.support.eventually import UNASKED, eventually


def token(**members: object) -> str:
    claims = {
        "account": "joe",
        "key": "",
        "root": "req-root",
        "parent": "req-parent",
        "depth": 1,
        "expires": int(time.time()) + 600,
        "algorithm": "a",
        "data": "",
    }
    return CallTokens(SECRET).mint(**{**claims, **members})  # type: ignore[arg-type]


async def caller_token(platform: Platform, replica: ReplicaDouble, **options: str) -> str:
    """The token that an algorithm gets when it is called."""
    assert (await platform.call(**options)).status == 200
    return replica.calls[-1].headers["x-caller"]


async def test_an_algorithm_calls_as_its_caller(platform: Platform) -> None:
    private = revision("0.1.0", callability=Callability.PRIVATE)
    secret = platform.registry.publish(entry("joe", "secret", private))
    inner = await platform.routed(algorithm=secret)
    outer = await platform.routed()
    chained = await caller_token(platform, outer)
    for form in (chained, f"Bearer {chained}", f"Simple {chained}"):
        assert (await platform.call("joe/secret/0.1.0", key=form)).status == 200
    platform.fakts.add_account("mia")
    foreign = await caller_token(platform, outer, key=platform.fakts.add_key("mia"))
    assert (await platform.call("joe/secret/0.1.0", key=foreign)).status == 404
    assert len(inner.calls) == 3


async def test_a_chain_keeps_its_root_and_counts_its_depth(platform: Platform) -> None:
    replica = await platform.routed()
    first = await caller_token(platform, replica)
    root = replica.calls[-1].headers["x-request-id"]
    second = await caller_token(platform, replica, key=first)
    claims = CallTokens(SECRET).verify(second, time.time())
    assert (claims.root, claims.parent) == (root, replica.calls[-1].headers["x-request-id"])
    assert (claims.depth, claims.account, claims.algorithm) == (2, "joe", str(platform.echo.id))


async def test_a_chain_has_a_deepest_call(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call(key=token(depth=MAX_DEPTH - 1))).status == 200
    reply = await platform.call(key=token(depth=MAX_DEPTH))
    assert (reply.status, f"{MAX_DEPTH} deep" in reply.error["message"]) == (403, True)


async def test_a_chain_has_a_number_of_calls_at_once(platform: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        await held.wait()
        return envelope("done")

    await platform.routed(play=hold, concurrency=64)
    running = [asyncio.create_task(platform.call(key=token())) for _ in range(MAX_PARALLEL)]
    await eventually(lambda: len(platform.gateway.calls.under_way) == MAX_PARALLEL)
    reply = await platform.call(key=token())
    assert (reply.status, "retry-after" in reply.headers) == (429, True)
    other = asyncio.create_task(platform.call(key=token(root="req-other")))
    await eventually(lambda: len(platform.gateway.calls.under_way) == MAX_PARALLEL + 1)
    held.set()
    assert {(await one).status for one in (*running, other)} == {200}


async def test_a_chain_does_not_use_up_the_sessions_of_its_account(platform: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        await held.wait()
        return envelope("done")

    await platform.routed(play=hold, concurrency=64)
    platform.fakts.accounts["joe"] = platform.fakts.accounts["joe"].model_copy(update={"session_limit": 1})
    platform.fakts._publish("account:joe", platform.fakts.accounts["joe"].model_dump(mode="json"))
    await eventually(lambda: platform.gateway.directory.accounts["joe"].session_limit == 1)
    top = asyncio.create_task(platform.call())
    await eventually(lambda: len(platform.gateway.calls.under_way) == 1)
    chained = asyncio.create_task(platform.call(key=token()))
    await eventually(lambda: len(platform.gateway.calls.under_way) == 2)
    assert (await platform.call()).status == 429
    held.set()
    assert ((await top).status, (await chained).status) == (200, 200)


async def test_a_token_ends_with_its_call(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call(key=token(expires=int(time.time()) - 1))).status == 401


async def test_a_token_ends_with_the_key_it_came_from(platform: Platform) -> None:
    replica = await platform.routed()
    chained = await caller_token(platform, replica)
    assert (await platform.call(key=chained)).status == 200
    platform.fakts.revoke_key(platform.key)

    async def is_refused() -> bool:
        return (await platform.call(key=chained)).status == 401

    await eventually(is_refused, UNASKED)


@pytest.mark.parametrize("ended", ["a login", "a client"])
async def test_a_token_ends_with_the_login_or_the_client_it_came_from(platform: Platform, ended: str) -> None:
    replica = await platform.routed()
    signed_in = platform.fakts.user_token("joe", sid="a login", client_id="a client")
    chained = await caller_token(platform, replica, key=f"Bearer {signed_in}")
    deeper = await caller_token(platform, replica, key=chained)
    other = await caller_token(platform, replica, key=f"Bearer {platform.fakts.user_token('joe')}")
    platform.fakts.end(ended)
    await eventually(lambda: platform.gateway.directory.ended)
    for one, status in ((chained, 401), (deeper, 401), (other, 200)):
        assert (await platform.call(key=one)).status == status
        data = await platform.request("GET", "/v1/data/", Authorization=one)
        assert data.status == status


async def test_a_token_ends_with_the_trust_in_the_issuer_it_came_from(platform: Platform) -> None:
    replica = await platform.routed()
    issuers = [platform.fakts.trust(f"https://id{number}.example") for number in range(2)]
    joe = platform.fakts.accounts["joe"]
    tokens = [platform.fakts.foreign_token(issuer, joe) for issuer in issuers]
    await eventually(lambda: len(platform.gateway.directory.issuers) == 2)
    chained = [await caller_token(platform, replica, key=f"Bearer {one}") for one in tokens]
    deeper = [await caller_token(platform, replica, key=one) for one in chained]
    platform.fakts.distrust(issuers[0])
    await eventually(lambda: len(platform.gateway.directory.issuers) == 1)
    for one, other in (chained, deeper):
        assert ((await platform.call(key=one)).status, (await platform.call(key=other)).status) == (401, 200)


async def test_a_token_says_what_the_first_credential_allows_with_data(platform: Platform) -> None:
    replica = await platform.routed()

    async def rights(**options: str) -> tuple[bool, bool]:
        chained = await caller_token(platform, replica, **options)
        for _ in range(2):
            permissions = (await platform.gateway.callers.find(chained.encode())).principal.permissions
            chained = await caller_token(platform, replica, key=chained)
        return permissions.allow_data, permissions.allow_data_write

    key = platform.fakts.add_key("joe", permissions=Permissions(allow_algo=True, allow_data=True))
    assert await rights(key=key) == (True, False)
    assert await rights() == (True, True)
    for scope, expected in (("", (False, False)), ("data:read", (True, False)), ("data:write", (True, True))):
        signed_in = platform.fakts.user_token("joe", f"algo:call {scope}")
        assert await rights(key=f"Bearer {signed_in}") == expected


async def test_a_token_ends_with_its_account(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call(key=token(account="nobody"))).status == 401


async def test_a_token_that_others_made_is_refused(platform: Platform) -> None:
    await platform.routed()
    forged = CallTokens("guessed").mint(
        account="joe", key="", root="r", parent="p", depth=1, expires=int(time.time()) + 600, algorithm="a", data=""
    )
    assert (await platform.call(key=forged)).status == 401


async def test_a_list_of_the_key_does_not_bind_what_its_algorithm_calls(platform: Platform) -> None:
    outer = await platform.routed()
    other = platform.registry.publish(entry("joe", "other"))
    await platform.routed(algorithm=other)
    only = Permissions(allow_algo=True, algo_acl=("algo://joe/echo/*",))
    key = platform.fakts.add_key("joe", permissions=only)
    assert (await platform.call("joe/other", key=key)).status == 403
    chained = await caller_token(platform, outer, key=key)
    assert (await platform.call("joe/other", key=chained)).status == 200


async def test_an_algorithm_that_may_not_chain_gets_a_token_that_calls_nothing(platform: Platform) -> None:
    closed = platform.registry.publish(entry("joe", "closed", pipeline_enabled=False))
    replica = await platform.routed(algorithm=closed)
    inner = await platform.routed()
    assert (await platform.call("joe/closed")).status == 200
    reply = await platform.call(key=replica.calls[0].headers["x-caller"])
    assert (reply.status, "may not call" in reply.error["message"]) == (403, True)
    assert inner.calls == []


async def test_calls_of_signed_in_users_chain_too(platform: Platform) -> None:
    replica = await platform.routed()
    signed_in = platform.fakts.user_token("joe")
    chained = await caller_token(platform, replica, key=f"Bearer {signed_in}")
    assert (await platform.call(key=chained)).status == 200
