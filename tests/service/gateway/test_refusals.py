"""Calls that are refused, each with its status, code and words."""

from __future__ import annotations

import asyncio

import pytest

from libs.common.contracts.catalog import Callability
from libs.common.contracts.identity import Permissions
from tests.service.gateway.client import Client, Reply, call
from tests.service.gateway.conftest import Platform, nonsense_key
from tests.service.gateway.doubles import Answer, Asked, entry, envelope, revision
from tests.support.eventually import UNASKED, eventually

ALLOWED = Permissions(allow_algo=True)


def refused(reply: Reply, status: int, words: str, code: int | None = None) -> None:
    assert reply.status == status, reply.body
    assert words in reply.error["message"]
    assert code is None or reply.error["code"] == code
    assert reply.error["id"] == reply.headers["x-request-id"]
    assert reply.headers["content-type"] == "application/json"
    assert words in reply.headers["x-error-message"]


async def test_no_key_is_401(platform: Platform) -> None:
    reply = await platform.call(key=None)
    refused(reply, 401, "authorization required", 2002)
    assert reply.error["message"] == "authorization required"
    assert "www-authenticate" in reply.headers


async def test_an_unknown_key_is_401(platform: Platform) -> None:
    refused(await platform.call(key=nonsense_key()), 401, "not known", 2002)
    for key in ("Basic am9lOng=", "Basic !", "Bearer a.b.c", "Simple", "cat.x.y", "Bearer cat.x.y"):
        assert (await platform.call(key=key)).status == 401, key


async def test_a_revoked_key_is_refused_at_once(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call()).status == 200
    platform.fakts.revoke_key(platform.key)

    async def is_refused() -> bool:
        return (await platform.call()).status == 401

    await eventually(is_refused, UNASKED)


async def test_the_keys_of_an_inactive_account_are_refused(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call()).status == 200
    platform.fakts.add_account("joe", active=False)

    async def is_refused() -> bool:
        return (await platform.call()).status == 401

    await eventually(is_refused, UNASKED)


async def test_a_key_that_was_just_made_is_known(platform: Platform) -> None:
    await platform.routed()
    platform.fakts.add_account("mia")
    assert (await platform.call(key=platform.fakts.add_key("mia"))).status == 200


async def test_a_flood_of_unknown_keys_is_no_flood_of_questions(platform: Platform) -> None:
    registry = platform.registry.catalog
    before = registry.asked
    replies = await asyncio.gather(*(platform.call(f"joe/absent{number}") for number in range(60)))
    assert {reply.status for reply in replies} == {404}
    assert registry.asked - before < 20


@pytest.mark.parametrize(
    ("permissions", "words"),
    [
        (Permissions(), "allow_algo"),
        (Permissions(allow_algo=True, algo_acl=()), "may not call algo://joe/echo"),
        (Permissions(allow_algo=True, algo_acl=("algo://mia/*", "algo://joe/other/*")), "may not call"),
    ],
)
async def test_a_key_that_may_not_call_it_is_403(platform: Platform, permissions: Permissions, words: str) -> None:
    await platform.routed()
    key = platform.fakts.add_key("joe", permissions=permissions)
    refused(await platform.call(key=key), 403, words, 2001)


async def test_a_key_calls_what_its_list_names(platform: Platform) -> None:
    await platform.routed()
    for acl in ("algo://*", "algo://joe/*", "algo://joe/echo/*", "algo://joe/echo"):
        key = platform.fakts.add_key("joe", permissions=Permissions(allow_algo=True, algo_acl=(acl,)))
        assert (await platform.call(key=key)).status == 200, acl
        assert (await platform.call(f"{platform.echo.id}", key=key)).status == 200, acl


async def test_an_admin_key_calls_nothing_by_itself(platform: Platform) -> None:
    await platform.routed()
    key = platform.fakts.add_key("joe", admin=True, permissions=Permissions())
    refused(await platform.call(key=key), 403, "sudo", 2001)


async def test_a_service_calls_nothing(platform: Platform) -> None:
    await platform.routed()
    token = platform.fakts.service_token("registry")
    refused(await platform.call(key=f"Bearer {token}"), 403, "services", 2001)


async def test_browsers_need_a_key_that_allows_them(platform: Platform) -> None:
    await platform.routed()
    native = platform.fakts.add_key("joe", permissions=ALLOWED)
    refused(await platform.call(key=native, Origin="https://app.example"), 403, "browser", 2001)
    only = Permissions(allow_algo=True, allow_web_algo=True, referer_host="App.example")
    bound = platform.fakts.add_key("joe", permissions=only)
    refused(await platform.call(key=bound, Origin="https://evil.example"), 403, "web site", 2001)
    assert (await platform.call(key=bound, Origin="https://app.example")).status == 200
    assert (await platform.call(key=bound, Origin="null", Referer="https://APP.example/page")).status == 200
    assert (await platform.call(key=bound)).status == 200
    reply = await platform.call(key=native, Origin="https://app.example")
    assert reply.headers["access-control-allow-origin"] == "https://app.example"


async def test_what_does_not_exist_is_404(platform: Platform) -> None:
    reply = await platform.call("joe/absent")
    refused(reply, 404, "algorithm algo://joe/absent not found", 1000)
    refused(await platform.call("joe/echo/9.9.9"), 404, "algorithm algo://joe/echo/9.9.9 not found", 1000)
    refused(await platform.call("algo://joe/echo/beta"), 404, "algorithm algo://joe/echo/beta not found", 1000)
    refused(await platform.call("Joe/echo"), 404, "algorithm algo://Joe/echo not found", 1000)


async def test_what_is_not_the_callers_does_not_exist(platform: Platform) -> None:
    commit = "ab" * 20
    hidden = revision("0.1.0", callability=Callability.PRIVATE, commit=commit)
    platform.registry.publish(entry("joe", "secret", hidden))
    platform.fakts.add_account("mia")
    key = platform.fakts.add_key("mia")
    for form in ("joe/secret", "joe/secret/0.1.0", "joe/secret/latestPrivate", f"joe/secret/{commit}"):
        refused(await platform.call(form, key=key), 404, f"algorithm algo://{form} not found", 1000)


async def test_an_algorithm_that_was_just_published_is_known(platform: Platform) -> None:
    assert (await platform.call("joe/fresh")).status == 404
    fresh = platform.registry.publish(entry("joe", "fresh"))
    await platform.routed(algorithm=fresh)

    async def is_known() -> bool:
        return (await platform.call("joe/fresh")).status == 200

    await eventually(is_known)


async def test_what_is_no_reference_is_400(platform: Platform) -> None:
    for reference in ("joe", "-joe/echo", "joe/ec-", "joe/echo/1/2", f"joe/{'x' * 42}", f"joe/echo/{'9' * 65}"):
        refused(await platform.call(reference), 400, "", 2015)


async def test_what_could_be_a_vanity_url_is_404(platform: Platform) -> None:
    for reference in ("1joe/echo", "joe/ec-ho", f"joe/{'x' * 31}"):
        refused(await platform.call(reference), 404, "not found", 1000)


async def test_a_timeout_that_is_none_is_400(platform: Platform) -> None:
    for timeout in ("0", "-5", "3001", "abc", "1e9"):
        refused(await platform.call(f"joe/echo?timeout={timeout}"), 400, "timeout", 2015)


async def test_other_media_types_are_415(platform: Platform) -> None:
    for content_type in ("image/png", None, "application/x-www-form-urlencoded", "multipart/form-data"):
        refused(await platform.call(content_type=content_type), 415, "text/plain")


async def test_encoded_bodies_are_415(platform: Platform) -> None:
    refused(await platform.call(Content_Encoding="gzip"), 415, "Content-Encoding")


async def test_a_body_over_the_limit_is_413_and_the_connection_goes_on(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    for chunked in (False, True):
        await client.write(call("joe/echo", b"x" * 200_000, key=platform.key, chunked=chunked))
        assert (await client.read()).status == 200
    large = b"x" * (11 << 20)
    refused(await client.call("joe/echo", large, key=platform.key), 413, "larger")
    assert (await client.call("joe/echo", "still", key=platform.key)).result == "still"
    head = call("joe/echo", b"", key=platform.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    await client.write(head)
    reading = asyncio.create_task(client.read())
    for _ in range(11):
        await client.write(b"100000\r\n" + b"y" * (1 << 20) + b"\r\n")
    await client.write(b"0\r\n\r\n")
    refused(await reading, 413, "larger")
    assert (await client.call("joe/echo", "still", key=platform.key)).result == "still"


async def test_a_length_over_the_limit_is_413_before_the_body_comes(platform: Platform) -> None:
    client = await platform.client()
    head = call("joe/echo", b"", key=platform.key).replace(b"Content-Length: 0", b"Content-Length: 99999999")
    await client.write(head)
    assert (await client.read()).status == 413


async def test_an_account_has_a_number_of_calls_at_once(platform: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        await held.wait()
        return envelope("done")

    await platform.routed(play=hold, concurrency=64)
    platform.fakts.add_account("mia")
    account = platform.fakts.accounts["mia"].model_copy(update={"session_limit": 2})
    platform.fakts.accounts["mia"] = account
    platform.fakts._publish("account:mia", account.model_dump(mode="json"))
    key = platform.fakts.add_key("mia")
    async with Client.connect(platform.url) as one, Client.connect(platform.url) as two:
        for client in (one, two):
            await client.write(call("joe/echo", key=key))
        await eventually(lambda: len(platform.gateway.calls.under_way) == 2)
        reply = await platform.call(key=key)
        refused(reply, 429, "2 calls")
        assert int(reply.headers["retry-after"]) >= 1
        assert (await platform.call("joe/absent")).status == 404
        held.set()
        assert [(await client.read()).result for client in (one, two)] == ["done", "done"]
    assert (await platform.call(key=key)).status == 200


async def test_other_methods_are_405(platform: Platform) -> None:
    for method in ("GET", "PUT", "DELETE"):
        reply = await platform.request(method, "/v1/algo/joe/echo", Authorization=platform.key)
        assert (reply.status, reply.headers["allow"]) == (405, "POST, OPTIONS")


async def test_refusals_before_the_registry_is_known_say_that_the_platform_starts(surroundings: Platform) -> None:
    surroundings.fakts.offer("registry")
    await surroundings.start()
    reply = await surroundings.call()
    refused(reply, 503, "starting")
    assert "retry-after" in reply.headers
