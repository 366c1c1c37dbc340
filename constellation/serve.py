"""One service by itself, configured by environment; it finds the others through Fakts."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from socket import socket
from typing import Any

from fastapi import FastAPI

from constellation import services
from constellation.server import ServiceFailed, listen, port_of, served, settle
from libs.common import logs
from libs.common.db import Database
from libs.common.join import membership
from libs.common.settings import ServiceSettings

log = logs.get(__name__)


async def serve(name: str, env_file: Path | None = None) -> None:
    """Serve one service until SIGINT or SIGTERM.

    Raises:
        ValueError: no such service, or settings that do not fit (pydantic's error says which).
        PortTaken, ServiceFailed: as they say.
    """
    service = services.load(name)
    settings = service.settings(**_source(env_file))
    if "port" not in settings.model_fields_set:
        settings = settings.model_copy(update={"port": services.DEFAULT_PORTS[name]})
    stream = sys.stdout if settings.logs_to_stdout else sys.stderr
    logs.configure(level=settings.log_level, human=settings.log_human, stream=stream)
    listener = listen(settings.host, settings.port)
    settings = settings.model_copy(update={"port": port_of(listener)})
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop.set)
    app = service.app(settings, None)
    starting = asyncio.create_task(_until(stop, service, app, listener, settings), name=f"serve-{name}")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        _, late = await asyncio.wait({starting}, timeout=settings.drain_seconds + 20)
        if late:
            starting.cancel()
            raise ServiceFailed(f"{name} did not stop within its time and was ended")
    await starting


async def _until(
    stop: asyncio.Event, service: services.Service, app: FastAPI, listener: socket, settings: ServiceSettings
) -> None:
    name, drain = service.name, settings.drain_seconds
    async with served(name, app, listener, http=service.http, drain_seconds=drain) as task:
        log.info("serving", service=name, address=":".join(map(str, listener.getsockname()[:2])))
        settle()
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            await task


async def migrate(names: tuple[str, ...], env_file: Path | None = None) -> list[str]:
    """Bring the schemas of these services up to date. Returns the names of those that keep tables."""
    import httpx  # noqa: PLC0415 - only a migration outside of fakts asks anybody

    done = []
    for name in names:
        service = services.load(name)
        if service.migrations is None:
            continue
        settings: Any = service.settings(**_source(env_file))
        if name == "fakts":
            url = settings.database_url.get_secret_value()
        else:
            async with (
                httpx.AsyncClient() as http,
                membership(
                    http,
                    fakts_url=settings.fakts_url,
                    token=settings.join_token.get_secret_value(),
                    identifier=f"constellation.{name}",
                    version="migrate",
                ) as member,
            ):
                url = member.configuration.database_url
        database = Database(str(url), name)
        try:
            await database.migrate(service.migrations)
        finally:
            await database.close()
        done.append(name)
    return done


def _source(env_file: Path | None) -> dict[str, Any]:
    return {"_env_file": env_file} if env_file is not None else {}
