"""A worker in a process of its own, for tests that kill it: `python -m tests.service.worker.worker_process`.

Configured by environment variables like any other. Its bus leads nowhere, so it lives on its own reports.
"""

from __future__ import annotations

import asyncio

import uvicorn

from libs.common import logs
from libs.common.bus import MemoryBus
from services.worker.app import create_app
from services.worker.settings import WorkerSettings
from tests.support.serving import bound


async def main() -> None:
    logs.configure()
    listener = bound()
    settings = WorkerSettings(port=listener.getsockname()[1])
    async with MemoryBus() as bus:
        app = create_app(settings, bus=bus)
        await uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on")).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
