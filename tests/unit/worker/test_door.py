"""The way from replicas to a gateway: carried, and no user's alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.worker.door import Door
from tests.service.worker.places import passable_folder
from tests.support.eventually import eventually

ASK = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.sendall(b"hello")
print(door.recv(5).decode())
"""


@asynccontextmanager
async def opened(folder: Path, *, places: int | None) -> AsyncIterator[Door]:
    """A door to a gateway that says again what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while heard := await reader.read(100):
            writer.write(heard)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        door = Door(folder / "door", lambda: [url], places=places)
        async with door.open():
            yield door
            await eventually(lambda: len(asyncio.all_tasks()) == 1)  # what was carried has ended


class Connection:
    """One of an algorithm."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self) -> bytes:
        """What comes back; nothing from a connection that is closed."""
        try:
            self._writer.write(b"hello")
            return await self._reader.read(5)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()


async def connect(door: Door) -> Connection:
    return Connection(*await asyncio.open_unix_connection(door.path))


async def ask_once(door: Door) -> bytes:
    with contextlib.closing(await connect(door)) as connection:
        return await connection.ask()


async def test_a_user_has_a_quarter_of_the_places() -> None:
    with passable_folder() as folder:
        async with asyncio.timeout(60), opened(folder, places=8) as door:
            connections = [await connect(door) for _ in range(3)]
            assert [await one.ask() for one in connections] == [b"hello", b"hello", b""]
            if os.geteuid() == 0:
                assert await ask_as_nobody(door) == b"hello\n", "the places of others are theirs"
            connections[0].close()
            await eventually(lambda: ask_once(door))
            for one in connections:
                one.close()


async def test_there_are_more_places_when_the_process_may_have_more_files(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [16]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files[0], 1024))
    with passable_folder() as folder:
        async with asyncio.timeout(60), opened(folder, places=None) as door:
            with contextlib.closing(await connect(door)) as one:
                assert await one.ask() == b"hello"
                assert await ask_once(door) == b""
                files[0] = 64
                assert await ask_once(door) == b"hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
async def test_all_users_together_have_no_more_than_all_places() -> None:
    with passable_folder() as folder:
        async with asyncio.timeout(60), opened(folder, places=1) as door:
            with contextlib.closing(await connect(door)) as mine:
                assert await mine.ask() == b"hello"
                assert await ask_as_nobody(door) in (b"\n", b""), "it is closed, or was before it asked"


async def ask_as_nobody(door: Door) -> bytes:
    program = await asyncio.create_subprocess_exec(
        "/usr/bin/env",
        "python3",
        "-I",
        "-c",
        ASK,
        str(door.path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
    )
    said, _ = await program.communicate()
    return said
