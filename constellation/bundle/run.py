"""`run`: a satellite on this machine, from its bundle alone: the gateway in this process, replicas as processes.

Nobody else is asked. Nothing is needed but Constellation and the Pythons that the algorithms were made for.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from socket import socket
from typing import Any, Self
from uuid import UUID

from pydantic import SecretStr

from constellation import server
from constellation.bundle.content import Content
from constellation.bundle.folder import BundleFolder
from constellation.bundle.problems import BundleProblem
from constellation.bundle.supervision import Supervisor
from libs.common import logs
from libs.common.contracts.bundles import PLAN_FILE, SatelliteSecrets
from libs.common.contracts.launches import EntryStatus
from libs.common.contracts.satellites import SatellitePlan
from libs.common.loops import running
from libs.common.oci.documents import BadDocument, DigestMismatch
from libs.common.oci.layout import LayoutMissing
from services.gateway.app import create_app
from services.gateway.protocol import http_protocol
from services.gateway.satellite.files import FileRefused
from services.gateway.satellite.routes import Routes
from services.gateway.settings import GatewaySettings
from services.worker import alone
from services.worker.alone import CannotRun, Packed, Variables
from services.worker.files import write_private
from services.worker.folders import AlreadyRunning
from services.worker.sandbox import SandboxUnavailable
from services.worker.settings import WorkerSettings
from services.worker.toolchain import ToolMissing

Say = Callable[[str], None]

STATUS_FILE = "status.json"
_REASONS = (
    AlreadyRunning,
    CannotRun,
    ToolMissing,
    SandboxUnavailable,
    FileRefused,
    LayoutMissing,
    DigestMismatch,
    BadDocument,
)


async def run(
    bundle: BundleFolder, satellite_id: str, launch_id: str, *, trusted: str | None, host: str, port: int, say: Say
) -> None:
    """Serve until SIGINT or SIGTERM; calls under way are finished then.

    Raises BundleProblem, PortTaken and ServiceFailed.
    """
    stop, started = asyncio.Event(), asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    logs.configure(level="INFO", human=sys.stdout.isatty(), stream=sys.stdout)
    with server.listen(host, port) as listener:
        serving = asyncio.create_task(
            _serve(bundle, satellite_id, launch_id, trusted, host, listener, stop, started, say)
        )
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not (serving.done() or started.is_set()):
            serving.cancel()
            await asyncio.wait({serving})
        else:
            await serving


async def _serve(
    bundle: BundleFolder,
    satellite_id: str,
    launch_id: str,
    trusted: str | None,
    host: str,
    listener: socket,
    stop: asyncio.Event,
    started: asyncio.Event,
    say: Say,
) -> None:
    port = server.port_of(listener)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        async with AsyncExitStack() as stack:
            with bundle.locked():
                stack.enter_context(bundle.running())
                content = await asyncio.to_thread(bundle.verified, satellite_id, launch_id, trusted=trusted)
                plan = content.plan()
                gateway = _gateway_settings(bundle, plan, host, port)
                routes = Routes()
                progress = stack.enter_context(Progress(bundle.data / STATUS_FILE, url, say))
                supervisor = Supervisor(plan, routes, clock=time.monotonic, on_change=progress.take)
                node = alone.node(
                    WorkerSettings(data_dir=bundle.data / "worker", sandbox_hidden=(bundle.path,)),
                    content.layout(),
                    _packed(content, plan, supervisor),
                    _variables(plan, content.secrets()),
                    gateways=lambda: [url],
                    changed=supervisor.changed,
                )
                say(f"starting satellite {plan.order.satellite}, version {plan.order.satellite_version}")
                supervisor.attach(await stack.enter_async_context(node))
            app = create_app(gateway, routes=routes)
            serving = await stack.enter_async_context(
                server.served("gateway", app, listener, http=http_protocol, drain_seconds=gateway.drain_seconds)
            )
            await stack.enter_async_context(running(supervisor.loop))
            started.set()
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if serving.done():
                await serving
            say("stopping")
    except _REASONS as error:
        raise BundleProblem(str(error)) from error


class Progress:
    """Tells people how many replicas are ready, and keeps it in a file for programs while this runs."""

    def __init__(self, file: Path, url: str, say: Say) -> None:
        self._file = file
        self._url = url
        self._say = say
        self._complete = False
        self._reasons: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._file.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.unlink(missing_ok=True)

    def take(self, found: Sequence[EntryStatus]) -> None:
        for one in found:
            if one.reason is not None and one.reason != self._reasons.get(one.vanity_url):
                self._say(f"{one.vanity_url}: {one.ready} of {one.desired} ready, tried again: {one.reason}")
            self._reasons[one.vanity_url] = one.reason
        complete = all(one.ready == one.desired for one in found)
        if complete and not self._complete:
            calls = ", ".join(f"{self._url}/v1/algo/{one.vanity_url}" for one in found)
            self._say(f"calls are answered: {calls}")
        self._complete = complete
        entries = [one.model_dump(mode="json") for one in found]
        write_private(self._file, json.dumps({"url": self._url, "pid": os.getpid(), "entries": entries}) + "\n")


def _gateway_settings(bundle: BundleFolder, plan: SatellitePlan, host: str, port: int) -> GatewaySettings:
    """The plan is copied: a `get` while this runs changes nothing of it."""
    folder = bundle.data / "gateway"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = bundle.data / PLAN_FILE
    write_private(copy, plan.model_dump_json())
    origin, report = bundle.origin, bundle.report
    given: dict[str, Any] = {}
    if plan.mothership is None and "url" in origin:
        given["mothership"] = origin["url"]
    if "key" in report:
        given["report_token"] = SecretStr(report["key"])
    return GatewaySettings(
        satellite_plan=copy,
        satellite_replicas=None,
        call_token_secret=SecretStr(secrets.token_urlsafe(32)),  # no call outlives this process
        data_dir=folder,
        host=host,
        port=port,
        **given,
    )


def _packed(content: Content, plan: SatellitePlan, supervisor: Supervisor) -> list[Packed]:
    """Each revision once. Raises BundleProblem and what a layout raises."""
    found: dict[UUID, Packed] = {}
    for entry in supervisor.entries:
        revision = entry.said.revision_id
        digest = plan.images.get(str(revision))
        if digest is None:
            raise BundleProblem(f"the bundle has no image of {entry.said.algorithm}")
        found[revision] = Packed(entry.slots[0].order.spec, content.layout().image_of(digest))
    return list(found.values())


def _variables(plan: SatellitePlan, secrets: SatelliteSecrets) -> Variables:
    return Variables({one.revision_id: secrets.algorithms.get(one.algorithm_id, {}) for one in plan.order.entries})
