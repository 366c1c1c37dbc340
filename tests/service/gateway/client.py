"""An HTTP/1.1 client that does exactly what a test says, byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

TIMEOUT = 60.0


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.body)
        return members

    @property
    def error(self) -> dict[str, Any]:
        assert "error" in self.json, self.body[:500]
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def result(self) -> Any:
        assert "result" in self.json, self.body[:500]
        return self.json["result"]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._transport: Any = writer.transport

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[Self]:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def pause(self) -> None:
        """Take nothing of what comes."""
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(TIMEOUT):
            await self.writer.drain()

    async def read(self, *, head_only: bool = False) -> Reply:
        """The next answer. Raises EOFError when the connection ends before one begins."""
        async with asyncio.timeout(TIMEOUT):
            try:
                head = (await self.head()).decode("latin-1")
            except asyncio.IncompleteReadError as error:
                raise EOFError(error.partial) from error
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            status = int(first.split(" ")[1])
            if head_only or status < 200 or status in (204, 304):
                return Reply(status, headers, b"")
            if headers.get("transfer-encoding") == "chunked":
                return Reply(status, headers, await self._chunks())
            return Reply(status, headers, await self.reader.readexactly(int(headers["content-length"])))

    async def head(self) -> bytes:
        """The next answer's status line and headers, as they came. The body is left."""
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def call(self, reference: str, body: bytes | str = b"x", **options: Any) -> Reply:
        await self.write(call(reference, body, **options))
        return await self.read()

    async def request(self, method: str, path: str, **headers: str) -> Reply:
        await self.write(request(method, path, **headers))
        return await self.read(head_only=method == "HEAD")

    async def closed(self) -> bytes:
        """What comes until the other side hangs up."""
        async with asyncio.timeout(TIMEOUT):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def _chunks(self) -> bytes:
        chunks = []
        while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
            chunks.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(chunks)


def call(
    reference: str,
    body: bytes | str = b"x",
    *,
    key: str | None = None,
    content_type: str | None = "text/plain",
    version: str = "1.1",
    chunked: bool = False,
    **headers: str,
) -> bytes:
    """The bytes of a call. Names of further headers have `_` for `-`."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"POST /v1/algo/{reference} HTTP/{version}", "Host: gateway"]
    if key is not None:
        lines.append(f"Authorization: {key}")
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        framed = b"".join(b"%x\r\n%b\r\n" % (1, data[i : i + 1]) for i in range(len(data))) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(data)}")
        framed = data
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + framed


def request(method: str, path: str, body: bytes | None = None, /, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway.example:8000"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
