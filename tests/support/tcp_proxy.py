"""A TCP proxy on loopback that can cut the connections through it, refuse new ones and be mended."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class TcpProxy:
    """Forwards its port to another port of this machine. An async context manager.

    `cut` resets all connections and refuses new ones; `freeze` keeps them open and forwards nothing, as a network
    that lost its route does; `mend` ends either. The port stays the same.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.held = 0
        """Pieces of data that wait for `mend`."""

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._flowing.clear()

    async def cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if server is not None:
            async with asyncio.timeout(60):
                await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        writers = {writer}
        self._writers.add(writer)
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.add(target_writer)
            self._writers.add(target_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, target_writer))
                both.create_task(self._forward(target_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= writers
            for one in writers:
                one.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.held += 1
            try:
                await self._flowing.wait()
            finally:
                self.held -= 1
            writer.write(data)
            await writer.drain()
        writer.close()
