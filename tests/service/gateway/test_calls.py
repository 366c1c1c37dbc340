"""Calls that reach an algorithm, and what comes back."""

from __future__ import annotations

import json
from urllib.parse import quote
from uuid import uuid4

import pytest

from libs.common.contracts.catalog import Callability
from libs.common.contracts.identity import Role
from tests.service.gateway.conftest import Platform
from tests.service.gateway.doubles import Answer, Asked, answer, entry, envelope, revision
from tests.support.eventually import eventually

LARGE = 15 * 1024 * 1024 + 12_345


async def test_a_call_is_answered_by_a_replica(platform: Platform) -> None:
    replica = await platform.routed()
    reply = await platform.call(body="hello")
    assert (reply.status, reply.result) == (200, "hello")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == reply.json["request_id"]
    [asked] = replica.calls
    assert asked.body == b"hello"
    assert asked.headers["content-type"] == "text/plain"
    assert asked.headers["x-request-id"] == reply.json["request_id"]
    assert float(asked.headers["x-timeout"]) == 300


REFERENCES = (
    "joe/echo",
    "joe/echo/",
    "/joe/echo",
    "algo://joe/echo",
    "algo:/joe/echo",
    "algo%3A%2F%2Fjoe%2Fecho",
    "joe/echo/latest",
    "joe/echo/0.1.0",
    "joe/echo/0.1.0/",
    "joe/echo/0.1",
    "joe/echo/0.1.*",
    "joe/echo/0.1.x",
    "joe/echo/0.*",
    "joe/echo/0.1.%2A",
    "algo://joe/echo/0.1.0?timeout=10",
)


async def test_every_spelling_of_a_reference_is_served(platform: Platform) -> None:
    await platform.routed()
    for form in REFERENCES:
        assert (await platform.call(form)).result == "x", form


async def test_an_algorithm_is_called_by_its_id(platform: Platform) -> None:
    await platform.routed()
    assert (await platform.call(f"{platform.echo.id}")).result == "x"
    assert (await platform.call(f"{platform.echo.id}/0.1.0")).result == "x"


async def test_every_spelling_of_a_key_is_accepted(platform: Platform) -> None:
    await platform.routed()
    for form in ("{}", "Simple {}", "simple {}", "Bearer {}", "  {}"):
        assert (await platform.call(key=form.format(platform.key))).status == 200, form


async def test_a_signed_in_user_calls_with_an_access_token(platform: Platform) -> None:
    await platform.routed()
    token = platform.fakts.user_token("joe")
    for _ in range(2):
        assert (await platform.call(key=f"Bearer {token}")).status == 200
    header, body, _ = token.split(".")
    assert (await platform.call(key=f"Bearer {header}.{body}.forged")).status == 401


async def test_the_media_type_reaches_the_replica_in_one_spelling(platform: Platform) -> None:
    replica = await platform.routed()
    for given, expected in (
        ("text/plain", "text/plain"),
        ("application/text; charset=utf-8", "text/plain"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/octet-stream", "application/octet-stream"),
    ):
        await platform.call(content_type=given)
        assert replica.calls[-1].headers["content-type"] == expected


async def test_chunked_bodies_arrive_whole(platform: Platform) -> None:
    replica = await platform.routed()
    reply = await platform.call(body="chunked body", chunked=True)
    assert reply.result == "chunked body"
    assert replica.calls[0].headers["content-length"] == "12"


async def test_empty_and_binary_bodies_arrive(platform: Platform) -> None:
    replica = await platform.routed()
    await platform.call(body=b"", content_type="application/octet-stream")
    await platform.call(body=bytes(range(256)), content_type="application/octet-stream")
    assert [asked.body for asked in replica.calls] == [b"", bytes(range(256))]


async def test_a_body_of_the_largest_size_arrives(platform: Platform) -> None:
    async def measure(asked: Asked) -> Answer:
        return envelope(len(asked.body))

    await platform.routed(play=measure)
    for chunked in (False, True):
        body = b"x" * (10 << 20) if not chunked else b"x" * 100_000
        assert (await platform.call(body=body, chunked=chunked)).result == len(body)


async def test_a_large_answer_is_streamed_to_its_end(platform: Platform) -> None:
    text = "y" * LARGE

    async def large(asked: Asked) -> Answer:
        return envelope(text)

    await platform.routed(play=large)
    assert (await platform.call()).result == text
    assert (await platform.call(body="again")).result == text


async def test_a_raw_answer_keeps_its_type(platform: Platform) -> None:
    async def raw(asked: Asked) -> Answer:
        assert asked.headers["x-flags"].split(",")[-1] == "raw"
        return answer(b"bare \xe2\x98\x8e", content_type="text/plain; charset=utf-8")

    await platform.routed(play=raw)
    reply = await platform.call("joe/echo?output=raw")
    assert reply.body == b"bare \xe2\x98\x8e"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_type_that_no_runner_gives_is_not_passed_on(platform: Platform) -> None:
    async def page(asked: Asked) -> Answer:
        return answer(b"<script>", content_type="text/html")

    await platform.routed(play=page)
    assert (await platform.call()).headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("status", ["100 Continue", "204 No Content", "304 Not Modified"])
async def test_an_algorithm_does_not_say_where_an_answer_ends(platform: Platform, status: str) -> None:
    """A client takes what follows these heads for the answer to its next request."""
    forged = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

    async def forge(asked: Asked) -> Answer:
        return answer(forged, status=status)

    await platform.routed(play=forge)
    client = await platform.client()
    reply = await client.call("joe/echo", key=platform.key)
    assert (reply.status, "was lost" in reply.error["message"]) == (500, True)
    assert (await client.request("GET", "/healthz")).json == {"status": "ok"}


async def test_output_and_traces_are_for_those_who_belong_to_the_owner(platform: Platform) -> None:
    replica = await platform.routed()
    platform.fakts.add_account("acme")
    for name, organizations in (("mia", {}), ("tim", {"acme": Role.EXECUTOR})):
        platform.fakts.add_account(name, organizations=organizations)
    shared = platform.registry.publish(entry("acme", "echo"))
    other = await platform.routed(algorithm=shared)
    expectations = [
        ("joe", "joe/echo?stdout=True", replica, "stdout,trace"),
        ("joe", "joe/echo", replica, "trace"),
        ("mia", "joe/echo?stdout=true", replica, None),
        ("tim", "acme/echo?stdout=true", other, "stdout,trace"),
        ("mia", "acme/echo?stdout=true", other, None),
    ]
    for name, reference, double, flags in expectations:
        key = platform.fakts.add_key(name)
        assert (await platform.call(reference, key=key)).status == 200
        assert double.calls[-1].headers.get("x-flags") == flags, (name, reference)


async def test_an_algorithms_error_is_passed_on_with_status_200(platform: Platform) -> None:
    async def boom(asked: Asked) -> Answer:
        return envelope({"message": "boom", "error_type": "InputError"}, outcome="error")

    await platform.routed(play=boom)
    reply = await platform.call()
    assert (reply.status, reply.error["message"], reply.error["error_type"]) == (200, "boom", "InputError")


async def test_an_error_that_arrives_in_pieces_is_passed_on(platform: Platform) -> None:
    words = "boom " * 30_000

    async def boom(asked: Asked) -> Answer:
        return envelope({"message": words, "error_type": "AlgorithmError"}, outcome="error")

    await platform.routed(play=boom)
    assert (await platform.call()).error["message"] == words


async def test_a_body_that_the_replica_refuses_is_the_clients_error(platform: Platform) -> None:
    async def refuse(asked: Asked) -> Answer:
        return envelope({"message": "not JSON", "code": 2013}, outcome="error", status="400 Bad Request")

    await platform.routed(play=refuse)
    reply = await platform.call(body="{", content_type="application/json")
    assert (reply.status, reply.error["code"]) == (400, 2013)


async def test_a_void_call_is_answered_at_once_and_runs_on(platform: Platform) -> None:
    replica = await platform.replica()
    reply = await platform.call("joe/echo?output=void", body="later")
    assert reply.status == 200
    assert reply.json["async"]
    assert not replica.calls
    platform.route(replica)
    await eventually(lambda: [asked.body for asked in replica.calls] == [b"later"])
    assert replica.calls[0].headers["x-request-id"] == reply.json["request_id"]


async def test_a_private_version_is_called_by_its_owner(platform: Platform) -> None:
    commit = "ab" * 20
    private = revision("0.1.0", callability=Callability.PRIVATE, commit=commit)
    secret = platform.registry.publish(entry("joe", "secret", private))
    await platform.routed(algorithm=secret)
    for form in (
        "joe/secret/0.1.0",
        "joe/secret/latestPrivate",
        f"joe/secret/{commit}",
        f"joe/secret/{commit.upper()}",
    ):
        assert (await platform.call(form)).status == 200, form
    assert (await platform.call("joe/secret")).status == 404


async def test_an_administrator_calls_as_if_the_owner(platform: Platform) -> None:
    platform.fakts.add_account("root", staff=True)
    admin = platform.fakts.add_key("root", admin=True)
    private = revision("0.1.0", callability=Callability.PRIVATE)
    secret = platform.registry.publish(entry("joe", "secret", private))
    replica = await platform.routed(algorithm=secret)
    reply = await platform.call("joe/secret/0.1.0?sudo=true&stdout=true", key=admin)
    assert reply.status == 200
    assert replica.calls[0].headers["x-flags"] == "stdout,trace"
    plain = platform.fakts.add_key("root")
    assert (await platform.call("joe/secret/0.1.0?sudo=true", key=plain)).status == 404


async def test_unusual_spellings_do_not_open_what_is_closed(platform: Platform) -> None:
    await platform.routed()
    for form in ("joe/echo/0.1.0/more", "joe", "", quote("joe/echo?x"), "joe%00/echo", "..%2f..%2finternal"):
        reply = await platform.call(form)
        assert reply.status in (400, 404), form
        assert reply.error["message"]


async def test_what_clients_make_up_takes_bounded_memory(platform: Platform) -> None:
    await platform.routed()
    client, key = await platform.client(), platform.key
    token = f"Bearer {platform.fakts.user_token('joe')}"
    for form, options in (
        ("joe/echo", {"content_type": f"text/plain;{'x' * 60_000}"}),
        (f"{'/' * 60_000}joe/echo", {}),
        ("joe/echo", {"key": f"Simple {' ' * 60_000}{key}"}),
        ("joe/echo", {"key": token}),
    ):
        assert (await client.call(form, **{"key": key, **options})).status == 200
    launch = f"/launches/{uuid4()}/v1/algo/"
    for form, base in ((f"joe/echo/{'9' * 60_000}", "/v1/algo/"), ("x" * 60_000, launch)):
        assert (await client.call(form, key=key, base=base)).status == 400
    admissions = platform.gateway.calls._admissions
    assert [known[0].decode() for known in admissions._known] == [token], "a short one is remembered"
    assert not admissions._absent


async def test_a_browser_calls_with_a_key_that_allows_it(platform: Platform) -> None:
    await platform.routed()
    reply = await platform.call(Origin="https://app.example")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    preflight = await platform.request("OPTIONS", "/v1/algo/joe/echo", Origin="https://app.example")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-methods"] == "POST"
    assert "authorization" in preflight.headers["access-control-allow-headers"]


async def test_json_stays_as_the_replica_wrote_it(platform: Platform) -> None:
    body = json.dumps({"result": {"a": [1, 2.5, None, "ü"]}, "metadata": {}}, separators=(" ,", " :")).encode()

    async def literal(asked: Asked) -> Answer:
        return answer(body)

    await platform.routed(play=literal)
    assert (await platform.call()).body == body
