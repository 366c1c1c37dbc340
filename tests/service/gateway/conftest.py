"""A gateway on a real port, with the services around it played by doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvloop
from fastapi import FastAPI

from constellation.server import listen, port_of, served
from libs.common.bus import MemoryBus
from libs.common.contracts.catalog import CatalogEntry
from services.gateway.app import create_app
from services.gateway.gateway import Gateway
from services.gateway.platform import Platform as Source
from services.gateway.protocol import http_protocol
from services.gateway.settings import GatewaySettings
from tests.service.gateway.client import Client, Reply
from tests.service.gateway.doubles import DeployerDouble, RegistryDouble, ReplicaDouble, entry
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """The loop that the platform is served with: transports of asyncio's own differ in small ways."""
    return {"uvloop": uvloop.new_event_loop}


SECRET = "a secret that only the gateways of this test share"
EDGE_SECRET = "a secret that fakts has as well"


class Platform:
    """A gateway and its surroundings. `joe` has a key; `joe/echo` runs on what `replica` starts."""

    def __init__(
        self,
        stack: AsyncExitStack,
        folder: Path,
        fakts: FaktsDouble,
        registry: RegistryDouble,
        deployer: DeployerDouble,
    ) -> None:
        self._stack = stack
        self.folder = folder
        self.fakts = fakts
        self.registry = registry
        self.deployer = deployer
        self.bus = MemoryBus()
        self.url = ""
        self.app: FastAPI
        self.gateway: Gateway
        fakts.add_account("joe")
        self.key = fakts.add_key("joe")
        self.echo = registry.publish(entry("joe", "echo"))

    @property
    def source(self) -> Source:
        source = self.gateway.source
        assert isinstance(source, Source)
        return source

    def settings(self, **members: Any) -> GatewaySettings:
        common: dict[str, Any] = {
            "fakts_url": self.fakts.url,
            "join_token": self.fakts.join_token,
            "data_dir": self.folder / "gateway",
        }
        return GatewaySettings(**common | members)

    @asynccontextmanager
    async def serving(self, *, drain_seconds: float = 1, **settings: Any) -> AsyncIterator[str]:
        """Run a gateway while the context is open; requests under way then may take so long to finish."""
        listener = listen("127.0.0.1", 0)
        given = self.settings(port=port_of(listener), drain_seconds=drain_seconds + 1, **settings)
        app = create_app(given, bus=self.bus)
        async with served("gateway", app, listener, http=http_protocol, drain_seconds=drain_seconds):
            self.app, self.gateway = app, app.state.gateway
            self.url = f"http://127.0.0.1:{port_of(listener)}"
            yield self.url

    async def start(self, **settings: Any) -> str:
        return await self._stack.enter_async_context(self.serving(**settings))

    async def replica(
        self, algorithm: CatalogEntry | None = None, *, tcp: bool = False, **members: Any
    ) -> ReplicaDouble:
        """A replica of an algorithm's newest revision, not routed yet."""
        double = ReplicaDouble(**members)
        await self._stack.enter_async_context(double.serve(self.folder, tcp=tcp))
        return double

    async def routed(self, *args: Any, algorithm: CatalogEntry | None = None, **members: Any) -> ReplicaDouble:
        """A replica that calls are sent to, from now on."""
        double = await self.replica(*args, **members)
        self.route(double, algorithm=algorithm)
        if self.url:
            await eventually(lambda: str(double.id) in str(self.source.routes.entries))
        return double

    def route(
        self, *doubles: ReplicaDouble, algorithm: CatalogEntry | None = None, failure: str | None = None
    ) -> None:
        revision = (algorithm or self.echo).revisions[-1]
        self.deployer.route(revision.id, *(double.route for double in doubles), failure=failure)

    async def client(self) -> Client:
        return await self._stack.enter_async_context(Client.connect(self.url))

    async def call(self, reference: str = "joe/echo", body: bytes | str = b"x", **options: Any) -> Reply:
        """One call on a connection of its own, with joe's key unless another is given."""
        async with Client.connect(self.url) as client:
            return await client.call(reference, body, **{"key": self.key, **options})

    async def request(self, method: str, path: str, **headers: str) -> Reply:
        async with Client.connect(self.url) as client:
            return await client.request(method, path, **headers)


@asynccontextmanager
async def running_platform(folder: Path, registry: RegistryDouble | None = None) -> AsyncIterator[Platform]:
    """All but the gateway itself."""
    async with AsyncExitStack() as stack:
        fakts = await stack.enter_async_context(FaktsDouble().serve())
        fakts.configure("gateway", call_token_secret=SECRET, edge_secret=EDGE_SECRET)
        registry = await stack.enter_async_context((registry or RegistryDouble()).serve())
        deployer = await stack.enter_async_context(DeployerDouble().serve())
        fakts.offer("registry", registry.url)
        fakts.offer("deployer", deployer.url)
        platform = Platform(stack, folder, fakts, registry, deployer)
        await stack.enter_async_context(platform.bus)
        yield platform


@pytest.fixture
async def surroundings(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform whose gateway the test starts itself."""
    async with running_platform(tmp_path) as platform:
        yield platform


@pytest.fixture
async def platform(surroundings: Platform) -> Platform:
    """A platform with a gateway."""
    await surroundings.start()
    return surroundings


def nonsense_key() -> str:
    return f"sim{uuid4().hex[:24]}1"
