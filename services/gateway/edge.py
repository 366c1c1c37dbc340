"""The edge: everything but calls goes on to the service whose it is, and comes back, as a stream both ways.

Nothing is buffered, repeated or decoded. The client's `Host` and `Authorization` go on unchanged: each service checks
by itself who asks. After a write that may change what this gateway follows, the answer waits until this gateway knows
of it, so that a client which publishes, or revokes, and then calls sees what it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from libs.common import forwarded, logs
from libs.common.join import Membership
from libs.common.problems import NotFound, Problem, Unavailable
from libs.common.web import REQUEST_ID, current_request_id, render
from services.gateway.bodies import STALL_SECONDS, arriving
from services.gateway.edge_table import service_for

log = logs.get(__name__)

READING = frozenset({"GET", "HEAD", "OPTIONS"})
CATCH_UP_SECONDS = 1.0
ANSWER_SECONDS = 3000.0
"""For a service to begin its answer: a build may be waited for."""
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, 7.6.1: of one connection only."""
_ANSWERED_HERE = frozenset({"date", "server", REQUEST_ID})
_VOUCHED_TO = "fakts"
"""Asks where clients are."""
_FORWARDED = ("forwarded", "x-forwarded-")


class BadGateway(Problem):
    status, title, code = 502, "Bad gateway", 5001


class Edge:
    """Args:
    catch_up: by service, what to wait for after a write to it.
    trust_forwarded: pass forwarding headers of clients on, as another proxy in front of this one sets them.
    """

    def __init__(
        self,
        member: Membership,
        catch_up: Mapping[str, Callable[[], Awaitable[bool]]],
        *,
        connect_seconds: float,
        trust_forwarded: bool,
    ) -> None:
        self._member = member
        self._catch_up = catch_up
        self._trust_forwarded = trust_forwarded
        self._turn = itertools.count()
        self._timeouts = {"connect": connect_seconds, "read": ANSWER_SECONDS, "write": STALL_SECONDS, "pool": None}
        self._transport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=4.0)
        )

    async def close(self) -> None:
        await self._transport.aclose()

    async def pass_on(self, request: Request) -> Response:
        """The answer of the service that owns the path."""
        path: str = request.scope["path"]
        service = service_for(path)
        if service is None:
            return render(path, NotFound(f"there is no {path} here"), current_request_id())
        try:
            answer = await self._ask(service, request)
        except ClientDisconnect:
            return Response(status_code=499)
        except Problem as problem:
            return render(path, problem, current_request_id())
        if request.method not in READING and answer.status_code < 400 and service in self._catch_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    await self._catch_up[service]()
        return Streamed(answer, service)

    async def _ask(self, service: str, request: Request) -> httpx.Response:
        """The beginning of the service's answer. An instance that cannot be connected to is passed over."""
        urls = self._member.urls(service)
        if not urls:
            raise Unavailable(f"the platform's service '{service}' is not known here yet; try again")
        start = next(self._turn) % len(urls)
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        target: bytes = request.scope["raw_path"]
        if query := request.scope["query_string"]:
            target += b"?" + query
        for base in urls[start:] + urls[:start]:
            asked = httpx.Request(
                request.method,
                base,
                headers=self._request_headers(service, request),
                content=arriving(request) if has_body else None,
                extensions={"target": httpx.URL(base).raw_path.rstrip(b"/") + target, "timeout": self._timeouts},
            )
            try:
                return await self._transport.handle_async_request(asked)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.HTTPError as error:
                log.warning("service_did_not_answer", service=service, reason=type(error).__name__)
                raise BadGateway(f"the platform's service '{service}' did not answer; it may have acted") from error
        raise Unavailable(f"the platform's service '{service}' cannot be reached just now; try again")

    def _request_headers(self, service: str, request: Request) -> list[tuple[bytes, bytes]]:
        headers = _end_to_end(request.headers.raw, {"expect", REQUEST_ID, forwarded.CODE.decode()})
        if not self._trust_forwarded:
            headers = [(name, value) for name, value in headers if not name.decode("latin-1").startswith(_FORWARDED)]
            client = request.client.host if request.client else "unknown"
            headers += [
                (b"x-forwarded-for", client.encode()),
                (b"x-forwarded-proto", request.url.scheme.encode()),
            ]
        secret = self._member.configuration.edge_secret
        if secret is not None and service == _VOUCHED_TO:
            headers.append((forwarded.CODE, forwarded.code(secret, headers)))
        return [*headers, (REQUEST_ID.encode(), current_request_id().encode())]


class Streamed(Response):
    """An answer that is passed on while it arrives."""

    def __init__(self, answer: httpx.Response, service: str) -> None:
        super().__init__(status_code=answer.status_code)
        self.raw_headers = _end_to_end(answer.headers.raw, _ANSWERED_HERE)
        self._answer = answer
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the interface
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            assert isinstance(self._answer.stream, httpx.AsyncByteStream)  # noqa: S101 - it came from an async transport
            async for chunk in self._answer.stream:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except httpx.HTTPError as error:
            # The server ends the connection of an answer that is not complete, which tells the client.
            log.warning("answer_broken_off", service=self._service, reason=type(error).__name__)
        finally:
            gone.cancel()
            await self._answer.aclose()


async def _disconnected(receive: Receive) -> None:
    message: Mapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


def _end_to_end(headers: list[tuple[bytes, bytes]], without: set[str] | frozenset[str]) -> list[tuple[bytes, bytes]]:
    """The headers that are meant for the other end, not for this connection."""
    dropped = _HOP_BY_HOP | without
    for name, value in headers:
        if name.lower() == b"connection":
            dropped = dropped | {token.strip().lower() for token in value.decode("latin-1").split(",")}
    return [(name, value) for name, value in headers if name.lower().decode("latin-1") not in dropped]
