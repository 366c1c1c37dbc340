"""The services around a gateway, scripted: feeds that a test writes, and replicas that a test plays."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path_

from libs.common.contracts.catalog import Artifact, Callability, CatalogEntry, Language, Revision
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.contracts.launches import KeySet, Launched
from libs.common.contracts.replicas import Address, DemandReport, Route, RouteReplica
from libs.common.hosts import host_id
from tests.support.serving import serving


class FeedDouble:
    """A feed as its publisher serves it."""

    def __init__(self) -> None:
        self._epoch = str(uuid4())
        self._version = 0
        self._entries: dict[str, tuple[int, dict[str, Any] | None]] = {}
        self._changed = asyncio.Event()
        self.asked = 0
        """Questions that did not wait."""

    def set(self, key: str, body: dict[str, Any] | None) -> None:
        self._version += 1
        self._entries[key] = (self._version, body)
        self.tell()

    def tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def page(self, request: Request) -> Response:
        asked = request.query_params
        since = int(asked["since"]) if asked["epoch"] == self._epoch else 0
        wait = float(asked["wait"])
        self.asked += wait == 0
        if since >= self._version and wait:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()
        newer = sorted((version, key, body) for key, (version, body) in self._entries.items() if version > since)
        changes = tuple(FeedChange(key=key, version=version, body=body) for version, key, body in newer)
        page = FeedPage(epoch=self._epoch, version=self._version, changes=changes)
        return JSONResponse(page.model_dump(mode="json"))


class RegistryDouble:
    """The catalog, and any routes that a test adds."""

    def __init__(self, *routes: Path_) -> None:
        self.url = ""
        self.catalog = FeedDouble()
        self.applications = FeedDouble()
        feeds = [
            Path_("/internal/feeds/catalog", self.catalog.page),
            Path_("/internal/feeds/applications", self.applications.page),
        ]
        self.app = Starlette(routes=[*feeds, *routes])

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        async with serving(self.app, grace=1) as url:
            self.url = url
            try:
                yield self
            finally:
                self.catalog.tell()
                self.applications.tell()

    def publish(self, entry: CatalogEntry) -> CatalogEntry:
        self.catalog.set(str(entry.id), entry.model_dump(mode="json"))
        return entry


class DeployerDouble:
    """The routes, and what was demanded."""

    def __init__(self) -> None:
        self.url = ""
        self.routes = FeedDouble()
        self.launched = FeedDouble()
        self.reports: list[DemandReport] = []
        self.on_demand: Callable[[DemandReport], None] = lambda _: None
        paths = [
            Path_("/internal/feeds/routes", self.routes.page),
            Path_("/internal/feeds/launched", self.launched.page),
            Path_("/internal/demand", self._demand, methods=["POST"]),
        ]
        self.app = Starlette(routes=paths)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        async with serving(self.app, grace=1) as url:
            self.url = url
            try:
                yield self
            finally:
                self.routes.tell()
                self.launched.tell()

    def launch(self, launched: Launched, keys: Mapping[str, str]) -> None:
        """A launch answers from now on, to these keys."""
        self.launched.set(f"keys:{launched.keys}", KeySet(keys=keys).model_dump(mode="json"))
        self.launched.set(f"launch:{launched.launch_id}", launched.model_dump(mode="json"))

    def route(self, revision_id: UUID, *replicas: RouteReplica, failure: str | None = None) -> None:
        route = Route(revision_id=revision_id, replicas=replicas, failure=failure)
        self.routes.set(str(revision_id), route.model_dump(mode="json"))

    async def _demand(self, request: Request) -> Response:
        report = DemandReport.model_validate_json(await request.body())
        self.reports.append(report)
        self.on_demand(report)
        return Response(status_code=204)


def revision(
    version: str | None = "0.1.0",
    *,
    callability: Callability = Callability.PUBLIC,
    commit: str | None = None,
) -> Revision:
    return Revision(
        id=uuid4(),
        commit=commit or uuid4().hex + "00000000",
        version=version,
        callability=callability,
        language=Language.PYTHON,
        artifact=Artifact(source="0" * 64, digest="0" * 64),
        built_at="2026-01-01T00:00:00Z",
    )


def entry(owner: str, name: str, *revisions: Revision, **members: Any) -> CatalogEntry:
    return CatalogEntry(id=uuid4(), owner=owner, name=name, revisions=revisions or (revision(),), **members)


@dataclass
class Asked:
    """One call as a replica got it."""

    headers: dict[str, str]
    body: bytes


Answer = bytes | None
"""The whole HTTP answer; None hangs up."""
Play = Callable[[Asked], Awaitable[Answer]]


def envelope(result: Any, request_id: str = "", *, outcome: str = "ok", status: str = "200 OK") -> bytes:
    """An answer as a runner gives it."""
    members = {"metadata": {"content_type": "json", "duration": 0.001}, "request_id": request_id}
    name = "result" if outcome == "ok" else "error"
    return answer(json.dumps({name: result, **members}).encode(), outcome=outcome, status=status)


def answer(
    body: bytes,
    *,
    outcome: str = "ok",
    status: str = "200 OK",
    content_type: str = "application/json",
    more: str = "",
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        f"x-outcome: {outcome}\r\nx-duration: 0.001\r\n{more}\r\n"
    )
    return head.encode() + body


async def echo(asked: Asked) -> Answer:
    text = asked.body.decode("latin-1")
    return envelope(text, asked.headers["x-request-id"])


@dataclass
class ReplicaDouble:
    """A replica on a Unix socket (or TCP) that answers as `play` says, one call at a time on each connection."""

    play: Play = echo
    id: UUID = field(default_factory=uuid4)
    concurrency: int = 1
    token: str | None = None
    calls: list[Asked] = field(default_factory=list)
    connections: int = 0
    running: int = 0
    most_running: int = 0
    address: Address | None = None

    @asynccontextmanager
    async def serve(self, folder: Path, *, tcp: bool = False) -> AsyncIterator[Self]:
        if tcp:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20)
            port = server.sockets[0].getsockname()[1]
            self.address = Address(host_id="elsewhere", host="127.0.0.1", port=port, token=self.token)
        else:
            path = folder / f"{self.id.hex[:8]}.sock"
            server = await asyncio.start_unix_server(self._connected, path, limit=1 << 20)
            self.address = Address(host_id=host_id(), unix=str(path))
        self.writers: set[asyncio.StreamWriter] = set()
        try:
            yield self
        finally:
            server.close()
            self.hang_up()

    @property
    def route(self) -> RouteReplica:
        assert self.address is not None
        return RouteReplica(id=self.id, address=self.address, concurrency=self.concurrency)

    def hang_up(self) -> None:
        """End all connections, at once."""
        for writer in self.writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                asked = await _read(reader)
                self.calls.append(asked)
                self.running += 1
                self.most_running = max(self.running, self.most_running)
                try:
                    answered = await self.play(asked)
                finally:
                    self.running -= 1
                if answered is None:
                    return
                writer.write(answered)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.writers.discard(writer)
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    assert first == "POST /call HTTP/1.1", first
    headers = dict(line.split(": ", 1) for line in lines)
    return Asked(headers, await reader.readexactly(int(headers["content-length"])))
