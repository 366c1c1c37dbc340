"""An ASGI application on a real loopback port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


def bound() -> socket.socket:
    """A socket on a free loopback port. Its port is known before the application is made."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # or asyncio leaves Nagle on
    listener.bind(("127.0.0.1", 0))
    return listener


class _Server(uvicorn.Server):
    """Leaves the process's signal handlers to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, listener: socket.socket | None = None, *, grace: int = 5) -> AsyncIterator[str]:
    """Serve `app` while the context is open; yields its URL. Raises RuntimeError when it does not start."""
    listener = listener or bound()
    config = uvicorn.Config(app, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=grace)
    server = _Server(config)
    task = asyncio.create_task(_run(server, listener))
    try:
        while not server.started:
            if task.done():
                raise RuntimeError("the application did not start; its log says why")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until told to stop. A server that cannot start would end the process."""
    with contextlib.suppress(SystemExit):
        await server.serve(sockets=[listener])
