"""All five services on one machine: one process, an embedded PostgreSQL and an in-process bus unless told otherwise.

Each service still has its own socket and finds the others through Fakts, as it would on its own host.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation import data_dir, services
from constellation.server import listen, port_of, served
from libs.common import logs
from libs.common.bus import Bus, MemoryBus
from libs.common.embedded_postgres import EmbeddedPostgres

log = logs.get(__name__)

LOOPBACK = "127.0.0.1"
ADMIN_FILE = "admin.json"


@dataclass(frozen=True)
class Options:
    """What `constellation up` is told."""

    data_dir: Path = Path(".constellation")
    host: str = LOOPBACK
    port: int = 8000
    database: str | None = None
    bus: str | None = None
    runtime: str = "process"


@dataclass(frozen=True)
class Platform:
    """A running platform."""

    url: str
    data_dir: Path
    failed: asyncio.Future[None]
    """Gets the exception of a service that ended by itself."""

    def admin(self) -> dict[str, str]:
        """The first administrator's credentials. Raises FileNotFoundError when the file was taken away."""
        document: dict[str, str] = json.loads((self.data_dir / ADMIN_FILE).read_text())
        return document


@asynccontextmanager
async def platform(options: Options) -> AsyncIterator[Platform]:
    """Run everything while the context is open; leaving it ends all that was started, in the reverse order.

    Raises:
        PortTaken, DataDirRefused: before anything was started.
        RuntimeError, ServiceFailed: something did not come up; what had is stopped again.
    """
    async with AsyncExitStack() as stack:
        public = stack.enter_context(listen(options.host, options.port))
        folder = stack.enter_context(data_dir.locked(options.data_dir))
        database = options.database or await _embedded(stack, folder)
        join_token = data_dir.secret_file(folder / "join-token")
        bus = None if options.bus else await stack.enter_async_context(MemoryBus())
        url = f"http://{_reachable(options.host)}:{port_of(public)}"
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        fakts = listen(LOOPBACK, 0)
        common: dict[str, Any] = {
            "fakts_url": f"http://{LOOPBACK}:{port_of(fakts)}",
            "join_token": join_token,
            "advertise_host": None,
        }
        own: dict[str, dict[str, Any]] = {
            "fakts": {
                "database_url": database,
                "bus_url": options.bus,
                "blob_url": (folder / "blobs").as_uri(),
                "public_url": url,
                "admin_file": folder / ADMIN_FILE,
            },
            "registry": {},
            "deployer": {},
            "worker": {"runtime": options.runtime, "sandbox_hidden": (folder,), "listen_tcp": False},
            "gateway": {},
        }
        for name in services.NAMES:
            listener = public if name == "gateway" else fakts if name == "fakts" else listen(LOOPBACK, 0)
            service = services.load(name)
            settings = service.settings(
                **common,
                **own[name],
                host=options.host if name == "gateway" else LOOPBACK,
                port=port_of(listener),
                data_dir=folder / name,
            )
            settings.data_dir.mkdir(mode=0o700, exist_ok=True)
            task = await stack.enter_async_context(_one(service, settings, listener, bus))
            task.add_done_callback(_report_to(failed))
        yield Platform(url, folder, failed)


@asynccontextmanager
async def _one(
    service: services.Service, settings: Any, listener: Any, bus: Bus | None
) -> AsyncIterator[asyncio.Task[None]]:
    app = service.app(settings, bus)
    async with served(service.name, app, listener, http=service.http, drain_seconds=settings.drain_seconds) as task:
        yield task


async def _embedded(stack: AsyncExitStack, folder: Path) -> str:
    postgres = EmbeddedPostgres(folder / "postgres")
    starting = asyncio.ensure_future(asyncio.to_thread(postgres.start))

    async def stop() -> None:
        await asyncio.wait({starting})  # the thread goes on when nobody waits for it any more
        starting.exception()  # of a server that the same signal ended: nobody else asks
        await asyncio.to_thread(postgres.stop)

    stack.push_async_callback(stop)
    return await asyncio.shield(starting)


def _report_to(failed: asyncio.Future[None]) -> Callable[[asyncio.Task[None]], None]:
    def report(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not failed.done():
            failed.set_exception(error)

    return report


def _reachable(host: str) -> str:
    return LOOPBACK if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound


def cancel_on_signals() -> None:
    """SIGINT or SIGTERM cancels the task that asks for this, once: what it has started by then is ended in order."""
    task = asyncio.current_task()
    told = False

    def cancel() -> None:
        nonlocal told
        if task is not None and not told:
            task.cancel()
        told = True

    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, cancel)
