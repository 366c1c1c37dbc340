"""Everything but calls: passed on to the service whose it is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from libs.common import forwarded
from services.gateway.exchange import Exchange
from tests.service.gateway.client import Client, call, request
from tests.service.gateway.conftest import EDGE_SECRET, Platform, running_platform
from tests.service.gateway.doubles import Answer, Asked, RegistryDouble, entry, envelope
from tests.support.eventually import eventually

CHUNK = b"z" * (1 << 20)
CHUNKS = 100


class Upstream(RegistryDouble):
    """A registry that tells what it was asked."""

    def __init__(self) -> None:
        super().__init__(
            Route("/v1/algorithms/large", self._download),
            Route("/v1/algorithms/endless", self._endless),
            Route("/v1/algorithms/torn", self._torn),
            Route("/v1/algorithms/held", self._held),
            Route("/v1/algorithms/publish", self._publish, methods=["POST"]),
            Route("/{path:path}", self._tell, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        )
        self.began = asyncio.Event()
        """Some of a body has come."""
        self.aborted = asyncio.Event()
        self.released = asyncio.Event()
        self.sent = 0

    async def _tell(self, request: Request) -> Response:
        digest, length = hashlib.sha256(), 0
        try:
            async for chunk in request.stream():
                self.began.set()
                digest.update(chunk)
                length += len(chunk)
        except ClientDisconnect:
            self.aborted.set()
            raise
        told: dict[str, Any] = {
            "method": request.method,
            "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
            "headers": dict(request.headers),
            "length": length,
            "sha256": digest.hexdigest(),
        }
        more = {"x-told": "yes", "connection": "x-hop", "x-hop": "1", "location": "/elsewhere", "x-request-id": "own"}
        return JSONResponse(told, 201 if request.method == "POST" else 200, more)

    async def _download(self, _: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(CHUNKS):
                yield CHUNK

        return StreamingResponse(chunks())

    async def _endless(self, _: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    self.sent += 1
                    yield CHUNK
                    await asyncio.sleep(0)
            finally:
                self.aborted.set()

        return StreamingResponse(chunks())

    async def _torn(self, _: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("the disk is gone")

        return StreamingResponse(chunks(), headers={"content-length": "8"})

    async def _held(self, _: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun, "
            await self.released.wait()
            yield b"ended"

        return StreamingResponse(chunks())

    async def _publish(self, request: Request) -> Response:
        self.publish(entry("joe", (await request.body()).decode()))
        return JSONResponse({"published": True})


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def edge(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Platform]:
    async with running_platform(tmp_path, upstream) as platform:
        await platform.start()
        yield platform


async def test_a_request_goes_on_as_it_came(edge: Platform) -> None:
    path = "/v1/algorithms/joe%2Fecho/%E2%98%8E/a|b?x=1&y=%20&z=a+b"
    reply = await edge.request(
        "PATCH", path, Authorization="Simple abc", X_Custom="1", Connection="X-Mine", X_Mine="2"
    )
    told = reply.json
    assert (reply.status, told["method"], told["target"]) == (200, "PATCH", path)
    headers = told["headers"]
    assert headers["host"] == "gateway.example:8000"
    assert headers["authorization"] == "Simple abc"
    assert headers["x-custom"] == "1"
    assert "x-mine" not in headers
    assert headers["x-request-id"] == reply.headers["x-request-id"]


async def test_an_answer_comes_back_as_it_was_given(edge: Platform) -> None:
    reply = await edge.request("POST", "/v1/algorithms")
    assert (reply.status, reply.headers["x-told"], reply.headers["location"]) == (201, "yes", "/elsewhere")
    assert "x-hop" not in reply.headers
    assert reply.headers["x-request-id"] != "own"
    head = await edge.request("HEAD", "/v1/algorithms/joe/echo")
    assert int(head.headers["content-length"]) > 0


async def test_forwarding_headers_of_clients_are_not_believed(edge: Platform) -> None:
    forged = {"X_Forwarded_For": "1.2.3.4", "X_Forwarded_Host": "evil", "Forwarded": "for=1.2.3.4"}
    headers = (await edge.request("GET", "/v1/scms", **forged)).json["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert {"x-forwarded-host", "forwarded"}.isdisjoint(headers)


async def test_fakts_is_shown_who_says_where_a_client_is(edge: Platform) -> None:
    await edge.request("GET", "/.well-known/fakts", X_Forwarded_For="1.2.3.4", X_Constellation_Edge="forged")
    headers = edge.fakts.visits[-1]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert forwarded.is_vouched_for(EDGE_SECRET, headers.raw)
    told = (await edge.request("GET", "/v1/scms", X_Constellation_Edge="forged")).json["headers"]
    assert "x-constellation-edge" not in told, "no other service has a use for it"


async def test_trailers_of_a_body_are_no_headers(edge: Platform) -> None:
    client = await edge.client()
    trailers = b"X-Forwarded-For: 1.2.3.4\r\nAuthorization: Simple late\r\n"
    head = request("PUT", "/v1/algorithms/x", Transfer_Encoding="chunked")
    await client.write(head + b"1\r\nx\r\n0\r\n" + trailers + b"\r\n")
    told = (await client.read()).json
    assert (told["length"], told["headers"]["x-forwarded-for"]) == (1, "127.0.0.1")
    assert "authorization" not in told["headers"]
    assert (await client.request("GET", "/healthz")).status == 200


async def test_a_proxy_in_front_is_believed_if_so_set(tmp_path: Path, upstream: Upstream) -> None:
    async with running_platform(tmp_path, upstream) as platform:
        await platform.start(trust_forwarded=True)
        headers = (await platform.request("GET", "/v1/scms", X_Forwarded_Proto="https")).json["headers"]
        assert headers["x-forwarded-proto"] == "https"
        await platform.request("GET", "/.well-known/fakts", X_Forwarded_For="1.2.3.4")
        headers = platform.fakts.visits[-1]
        assert headers["x-forwarded-for"] == "1.2.3.4"
        assert forwarded.is_vouched_for(EDGE_SECRET, headers.raw)


async def test_a_large_upload_is_streamed(edge: Platform, upstream: Upstream) -> None:
    client = await edge.client()
    head = request("PUT", "/git/joe/echo.git/git-receive-pack", Transfer_Encoding="chunked")
    await client.write(head)
    digest = hashlib.sha256()
    for _ in range(CHUNKS):
        digest.update(CHUNK)
        await client.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
    await client.write(b"0\r\n\r\n")
    told = (await client.read()).json
    assert (told["length"], told["sha256"]) == (CHUNKS << 20, digest.hexdigest())


async def test_a_large_download_is_streamed(edge: Platform) -> None:
    reply = await edge.request("GET", "/v1/algorithms/large")
    assert len(reply.body) == CHUNKS << 20
    assert reply.body == CHUNK * CHUNKS


async def test_a_slow_client_slows_the_service_instead_of_filling_memory(edge: Platform, upstream: Upstream) -> None:
    async with Client.connect(edge.url) as client:
        client.pause()
        await client.write(request("GET", "/v1/algorithms/endless"))
        seen: list[int] = []

        def settled() -> bool:
            seen.append(upstream.sent)
            return len(seen) > 20 and seen[-1] == seen[-20] > 0

        await eventually(settled)
        assert upstream.sent < 40
    await asyncio.wait_for(upstream.aborted.wait(), 60)


async def test_a_call_behind_an_answer_that_streams_does_not_fill_memory(edge: Platform, upstream: Upstream) -> None:
    async def measure(asked: Asked) -> Answer:
        return envelope(len(asked.body))

    await edge.routed(play=measure)
    client, size = await edge.client(), 9 << 20
    client.writer.write(request("GET", "/v1/algorithms/held") + call("joe/echo", b"x" * size, key=edge.key))
    [connection] = await eventually(lambda: list(edge.gateway.clients))
    [behind] = await eventually(lambda: list(connection._waiting))
    assert isinstance(behind, Exchange)
    seen: list[int] = []

    def settled() -> bool:
        seen.append(sum(len(chunk) for chunk in behind._early))
        return len(seen) > 20 and seen[-1] == seen[-20]

    await eventually(settled)
    assert seen[-1] < 1 << 20
    upstream.released.set()
    assert (await client.read()).body == b"begun, ended"
    assert (await client.read()).result == size


async def test_an_upload_that_the_client_breaks_off_is_broken_off(edge: Platform, upstream: Upstream) -> None:
    async with Client.connect(edge.url) as client:
        await client.write(request("PUT", "/v1/algorithms/x", Content_Length="1000") + b"part")
        await asyncio.wait_for(upstream.began.wait(), 60)
    await asyncio.wait_for(upstream.aborted.wait(), 60)


async def test_an_answer_that_the_service_breaks_off_is_not_passed_off_as_whole(edge: Platform) -> None:
    client = await edge.client()
    await client.write(request("GET", "/v1/algorithms/torn"))
    data = await client.closed()
    assert b"content-length: 8" in data
    assert data.endswith((b"\r\n\r\n", b"half"))


async def test_a_call_sees_what_was_published_through_the_same_gateway(edge: Platform) -> None:
    client = await edge.client()
    for number in range(5):
        name = f"fresh{number}"
        reply = await client.call(f"joe/{name}", key=edge.key)
        assert reply.status == 404
        await client.write(request("POST", "/v1/algorithms/publish", name.encode()))
        assert (await client.read()).status == 200
        reply = await client.call(f"joe/{name}?timeout=0.05", key=edge.key)
        assert reply.status == 504  # it is known, and no replica is there


async def test_a_call_sees_a_revocation_through_the_same_gateway(edge: Platform) -> None:
    await edge.routed()
    client = await edge.client()
    for _ in range(5):
        key = edge.fakts.add_key("joe")
        assert (await client.call("joe/echo", key=key)).status == 200
        edge.fakts.revoke_key(key)
        await client.request("DELETE", "/v1/users/joe/keys/1")
        assert (await client.call("joe/echo", key=key)).status == 401


async def test_internal_routes_are_nobodys(edge: Platform) -> None:
    token = edge.fakts.service_token("gateway")
    for path in (
        "/internal/feeds/catalog",
        "/%69nternal/feeds/catalog",
        "/v1/algorithms/../../internal/feeds/catalog",
    ):
        reply = await edge.request("GET", path, Authorization=f"Bearer {token}")
        assert reply.status == 404, path


async def test_unknown_paths_are_404_in_the_words_of_their_family(edge: Platform) -> None:
    reply = await edge.request("GET", "/v1/unknown")
    assert (reply.status, reply.error["code"]) == (404, 7000)
    reply = await edge.request("GET", "/admin/v1/unknown")
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")


async def test_a_service_that_is_not_there_is_503(platform: Platform) -> None:
    platform.fakts.offer("registry")
    platform.fakts.offer("deployer", "http://127.0.0.1:1")
    await platform.source.entry.member.offer()
    for path in ("/v1/algorithms/joe/echo", "/admin/v1/workers"):
        reply = await platform.request("GET", path)
        assert (reply.status, "retry-after" in reply.headers) == (503, True), path
    assert "not known here" in (await platform.request("GET", "/v1/algorithms/joe/echo")).error["message"]


async def test_an_instance_that_is_gone_is_passed_over(edge: Platform, upstream: Upstream) -> None:
    edge.fakts.offer("registry", "http://127.0.0.1:1", upstream.url)
    await edge.source.entry.member.offer()
    for _ in range(4):
        assert (await edge.request("POST", "/v1/algorithms")).status == 201


async def test_hosted_data_tells_for_whom_a_key_is(platform: Platform) -> None:
    for path in ("/v1/data/", "/v1/data"):
        reply = await platform.request("GET", path, Authorization=platform.key)
        assert (reply.status, reply.json) == (200, {"folders": [{"name": "joe"}]})
        assert reply.headers["x-data-type"] == "directory"
    assert (await platform.request("GET", "/v1/data/")).status == 401
    assert (await platform.request("GET", "/v1/data/", Authorization="Simple nonsense")).status == 401


async def test_the_front_page_is_for_people_and_programs(platform: Platform) -> None:
    reply = await platform.request("GET", "/")
    assert reply.json["service"] == "constellation"
    page = await platform.request("GET", "/", Accept="text/html,*/*")
    assert page.headers["content-type"].startswith("text/html")
    assert b"<h1>Constellation</h1>" in page.body


async def test_requests_and_calls_share_a_connection(edge: Platform) -> None:
    await edge.routed()
    client = await edge.client()
    await client.write(
        request("PUT", "/v1/algorithms/x", b"y" * 200_000)
        + call("joe/echo", "between", key=edge.key)
        + request("GET", f"/v1/algorithms/{uuid4()}")
    )
    assert (await client.read()).json["length"] == 200_000
    assert (await client.read()).result == "between"
    assert (await client.read()).status == 200
