"""The whole application, on a real port: joined to a scripted Fakts, following a scripted registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute

from libs.common.bus import MemoryBus
from libs.common.clients.deployer import DeployerClient
from libs.common.clients.feeds import FeedClient
from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.join import membership
from services.deployer.app import create_app
from services.deployer.settings import DeployerSettings
from tests.support.fakts_double import FaktsDouble
from tests.support.serving import bound, serving


class RegistryDouble:
    """Publishes a catalog."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, dict[str, Any]]] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self.app = Starlette(routes=[HttpRoute("/internal/feeds/catalog", self._feed)])

    def close(self) -> None:
        """Let those go that wait."""
        self._closed = True
        self._changed.set()

    def publish(self, one: CatalogEntry) -> None:
        self._entries[str(one.id)] = (len(self._entries) + 1, one.model_dump(mode="json"))
        self._changed.set()

    async def _feed(self, request: Request) -> Response:
        since = int(request.query_params["since"])
        if since >= len(self._entries) and float(request.query_params["wait"]) and not self._closed:
            self._changed.clear()
            async with asyncio.timeout(60):
                await self._changed.wait()
        changes = tuple(
            FeedChange(key=key, version=version, body=body)
            for key, (version, body) in self._entries.items()
            if version > since
        )
        return JSONResponse(FeedPage(epoch="e", version=len(self._entries), changes=changes).model_dump(mode="json"))


@dataclass
class Platform:
    """The deployer, and all that it knows of the rest."""

    fakts: FaktsDouble
    registry: RegistryDouble
    bus: MemoryBus
    http: httpx.AsyncClient
    app: FastAPI
    url: str
    admin_key: str
    stack: AsyncExitStack = field(repr=False)

    async def client(self, service: str, instance: str | None = None) -> tuple[DeployerClient, FeedClient]:
        """What another service uses to talk to the deployer."""
        member = await self.stack.enter_async_context(
            membership(
                self.http,
                fakts_url=self.fakts.url,
                token=self.fakts.join_token,
                identifier=f"constellation.{service}",
                version="1",
                requires=("deployer",),
                instance_id=instance,
            )
        )
        await member.wait_for("deployer")
        return DeployerClient(self.http, member), FeedClient(self.http, member, "deployer", "routes")

    async def admin(
        self, method: str, path: str, params: dict[str, Any] | None = None, *, key: str | None = None, **more: str
    ) -> httpx.Response:
        """Ask as an administrator, or with another key; with more headers, `_` for `-`."""
        headers = {"authorization": f"Bearer {key or self.admin_key}"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return await self.http.request(method, f"{self.url}/admin/v1{path}", params=params, headers=headers)

    async def everything(self, path: str, *, limit: int) -> list[dict[str, Any]]:
        """A whole list, page by page."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": limit}
        while True:
            page = (await self.admin("GET", path, params)).json()
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["cursor"] is None:
                return found
            params["cursor"] = page["cursor"]


@asynccontextmanager
async def deploying(
    stack: AsyncExitStack, fakts: FaktsDouble, registry: RegistryDouble, data_dir: Path
) -> AsyncIterator[Platform]:
    bus = await stack.enter_async_context(MemoryBus())
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
    listener = bound()
    settings = DeployerSettings(
        fakts_url=fakts.url,
        join_token=SecretStr(fakts.join_token),
        port=listener.getsockname()[1],
        data_dir=data_dir,
    )
    app = create_app(settings, bus=bus)
    url = await stack.enter_async_context(serving(app, listener, grace=1))
    fakts.add_account("root", staff=True)
    yield Platform(fakts, registry, bus, http, app, url, fakts.add_key("root", admin=True), stack)
