"""Runs one gateway by itself, on what it finds in its data directory: the feeds of a platform that is not there.

    python -m bench.gateway.process DATA_DIR PORT

Calls take the same way as in a whole platform. The records of calls go to a bus that nobody listens to.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from constellation.server import listen, served
from libs.common import logs
from libs.common.bus import MemoryBus
from services.gateway.app import create_app
from services.gateway.protocol import http_protocol
from services.gateway.settings import GatewaySettings

NOBODY = "http://127.0.0.1:9"


async def serve(data_dir: Path, port: int) -> None:
    settings = GatewaySettings(port=port, data_dir=data_dir, fakts_url=NOBODY)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with MemoryBus() as bus:
        app = create_app(settings, bus=bus)
        async with served("gateway", app, listen("127.0.0.1", port), http=http_protocol, drain_seconds=1):
            await stop.wait()


if __name__ == "__main__":
    logs.configure(level="ERROR")
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
