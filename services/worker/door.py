"""The way from replicas to a gateway, for calls that algorithms make: one Unix socket in a folder that every sandbox
sees. It leads to whichever gateway is there now, also from a replica without a network.

Replicas that have a network try the gateways that they were told of at their start first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from libs.common import logs

log = logs.get(__name__)

_CHUNK = 1 << 16
_CONNECT_SECONDS = 5.0
_SOCKET = "g"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """Listens at `path` while it is open."""

    def __init__(self, folder: Path, gateways: Callable[[], Sequence[str]]) -> None:
        """
        Args:
            gateways: gives the base URLs of all live gateways, in the order in which to try them.
        """
        self.folder = folder
        self.path = folder / _SOCKET
        self._gateways = gateways

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
        far = None
        try:
            far = await self._connect()
            if far is not None:
                await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))
        finally:
            writer.close()
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


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()
