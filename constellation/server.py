"""Serving one application on one socket, as a context: it answers inside, and has finished its requests after it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

BACKLOG = 2048
_OPEN_FILES = 65536
"""Where more are allowed: what is started from here has the same limit, and some programs try every number below."""


class PortTaken(Exception):
    """The address to listen on is in use or not ours; the message says what to do."""


class ServiceFailed(Exception):
    """A service did not come up, or ended by itself. Its log says why."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Clients that connect before it is served wait.

    Raises:
        PortTaken: somebody listens there, or the host is not an address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio turns Nagle's delay off only where the protocol is named: without it, long polls answer 40 ms late.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise PortTaken(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is in use; stop what listens there or choose another port"
            ) from error
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


class _Server(uvicorn.Server):
    """Leaves signals to the root, which stops services in their order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(
    name: str,
    app: FastAPI,
    listener: socket.socket,
    *,
    http: Callable[[FastAPI], type[Any]] | None = None,
    drain_seconds: float = 10.0,
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve `app` on `listener`. Yields the task, which ends early only if the service fails.

    Raises:
        ServiceFailed: it did not come up.
    """
    raise_file_limit()
    config = uvicorn.Config(
        app,
        http=http(app) if http is not None else "httptools",
        loop="none",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(drain_seconds),
    )
    server = _Server(config)
    task = asyncio.create_task(_serve(name, server, listener), name=f"serve-{name}")
    try:
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.01)
        yield task
    finally:
        for end_waiting in app.state.on_drain:
            end_waiting()
        server.should_exit = True
        with contextlib.suppress(ServiceFailed):
            await task
        listener.close()


def raise_file_limit() -> None:
    """Each connection is an open file, and of those the usual limit is low, where the machine would allow more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle() -> None:
    """What the start made stays until the process ends: the collector, which looks through all objects now and then
    while everything waits for it, need not look at these any more."""
    gc.collect()
    gc.freeze()


async def _serve(name: str, server: _Server, listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    except SystemExit as error:  # how uvicorn says that the application's start failed
        raise ServiceFailed(f"{name} did not start; its log above says why") from error
    if not server.should_exit or not server.started:
        raise ServiceFailed(f"{name} ended by itself; its log above says why")
