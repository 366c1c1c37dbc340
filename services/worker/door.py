"""The way from replicas to a gateway, for calls that algorithms make: one Unix socket in a folder that every sandbox
sees. It leads to whichever gateway is there now, also from a replica without a network.

Replicas that have a network try the gateways that they were told of at their start first.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from libs.common import logs

log = logs.get(__name__)

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_SOCKET = "g"
_MOST = 4096
"""Connections at once, each of which takes two of the files that this process may have open."""
_SHARE = 4
"""Of a user: the one part of so many, so that one algorithm takes neither all files nor the way of all others."""
_CREDENTIALS = struct.Struct("3i")

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """Listens at `path` while it is open."""

    def __init__(self, folder: Path, gateways: Callable[[], Sequence[str]], *, places: int | None = None) -> None:
        """
        Args:
            gateways: gives the base URLs of all live gateways, in the order in which to try them.
            places: connections at once, of one user a quarter; None for half of the files that may be open, which
                may become more when servers start.
        """
        self.folder = folder
        self.path = folder / _SOCKET
        self._gateways = gateways
        self._places = places
        self._taken: Counter[int] = Counter()
        """Connections, by user."""
        self._full: set[int] = set()
        """Users who were turned away since they last had room."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.folder.mkdir(exist_ok=True, mode=0o755)
        self.path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._carry, self.path)
        self.path.chmod(0o666)
        try:
            yield
        finally:
            server.close()
            self.path.unlink(missing_ok=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), self._place(_user(writer)) as free:
            if free:
                await self._lead(reader, writer)

    @contextlib.contextmanager
    def _place(self, user: int) -> Iterator[bool]:
        """Gives whether there is room for one more of this user's connections, which takes it."""
        places = self._places
        if places is None:
            places = min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        free = self._taken.total() < places and self._taken[user] < max(1, places // _SHARE)
        if not free:
            if user not in self._full:
                log.warning("door_full", uid=user, connections=self._taken[user], of_all=self._taken.total())
            self._full.add(user)
            yield False
            return
        self._full.discard(user)
        self._taken[user] += 1
        try:
            yield True
        finally:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = None
        try:
            far = await self._connect()
            if far is not None:
                await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))
        finally:
            if far is not None:
                far[1].close()

    async def _connect(self) -> Stream | None:
        for url in self._gateways():
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection(
                        parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None
                    )
        log.warning("no_gateway_for_chained_call")
        return None


def _user(writer: asyncio.StreamWriter) -> int:
    """Who connected (SO_PEERCRED, unix(7))."""
    said: bytes = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(said)
    return int(uid)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()
