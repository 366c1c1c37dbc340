"""A satellite's gateway on a real port, with its files in a folder and real replicas over TCP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI

from constellation.server import listen, port_of, served
from libs.common.contracts.launches import entry_id
from libs.common.contracts.replicas import derived_token
from libs.common.contracts.satellites import SatellitePlan
from services.gateway.app import create_app
from services.gateway.gateway import Gateway
from services.gateway.protocol import http_protocol
from services.gateway.satellite.routes import Routes
from services.gateway.satellite.source import Satellite
from services.gateway.settings import GatewaySettings
from tests.service.gateway.client import Client, Reply
from tests.service.gateway.test_runner import CODE
from tests.support.ports import free_ports
from tests.support.replica import Replica
from tests.support.satellites import PlanMaker

KEY, OTHER_KEY = f"sim{'a' * 24}1", f"sim{'b' * 24}1"
TOKEN_SECRET = "of which what replicas want to be shown is made"
SECRET = "what gateways of the satellite share"
TEXT, PICTURE = "text/tag", "image/resize"


class Edge:
    """A satellite with two entries. Its gateway is started by the test."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        self.maker = PlanMaker(TEXT, PICTURE, keys=(KEY, OTHER_KEY))
        self.plan_file, self.replicas_file = folder / "plan.json", folder / "replicas.json"
        self.places: dict[str, dict[str, Any]] = {}
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateway: Gateway

    @property
    def source(self) -> Satellite:
        source = self.gateway.source
        assert isinstance(source, Satellite)
        return source

    def write(self, plan: SatellitePlan | None = None) -> SatellitePlan:
        plan = plan or self.maker.plan()
        self.plan_file.write_text(plan.model_dump_json())
        self.replicas_file.write_text(json.dumps(self.places))
        return plan

    def route(self, vanity: str) -> UUID:
        return entry_id(self.maker.launch_id, vanity)

    def token(self, vanity: str) -> str:
        return derived_token(TOKEN_SECRET, self.route(vanity))

    async def replica(self, vanity: str, *, token: str | None = None) -> Replica:
        """A real replica, which the file names for this entry when it is written the next time."""
        [port] = free_ports(1)
        place = self.folder / f"runner-{uuid4().hex[:6]}"
        token = token or self.token(vanity)
        replica = Replica(place, CODE, tcp=f"127.0.0.1:{port}", token=token, gateways=[self.url])
        started = await asyncio.to_thread(replica.__enter__)
        self._stack.callback(started.__exit__, None, None, None)
        self.places[str(self.route(vanity))] = {"host": "127.0.0.1", "port": port}
        return started

    def settings(self, **members: Any) -> GatewaySettings:
        common: dict[str, Any] = {
            "satellite_plan": self.plan_file,
            "satellite_replicas": self.replicas_file,
            "replica_secret": TOKEN_SECRET,
            "call_token_secret": SECRET,
            "data_dir": self.folder / "gateway",
            "port": self.port,
        }
        return GatewaySettings(**common | members)

    def app(self, *, routes: Routes | None = None, **settings: Any) -> FastAPI:
        return create_app(self.settings(drain_seconds=2, **settings), routes=routes)

    @asynccontextmanager
    async def serving(self, *, routes: Routes | None = None, **settings: Any) -> AsyncIterator[str]:
        app = self.app(routes=routes, **settings)
        listener = listen("127.0.0.1", self.port)
        async with served("gateway", app, listener, http=http_protocol, drain_seconds=1):
            self.gateway = app.state.gateway
            assert port_of(listener) == self.port
            yield self.url

    async def start(self, **settings: Any) -> None:
        await self._stack.enter_async_context(self.serving(**settings))

    async def call(self, vanity: str = TEXT, body: bytes | str = b"x", **options: Any) -> Reply:
        async with Client.connect(self.url) as client:
            return await client.call(vanity, body, **{"key": KEY, **options})

    async def request(self, method: str, path: str, **headers: str) -> Reply:
        async with Client.connect(self.url) as client:
            return await client.request(method, path, **headers)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with AsyncExitStack() as stack:
        yield Edge(stack, tmp_path)
