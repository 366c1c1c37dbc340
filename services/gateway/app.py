"""The gateway: the one address. It is served with `protocol.http_protocol`, which takes the calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.middleware import Middleware

from libs.common import web
from libs.common.bus import Bus
from services.gateway import api
from services.gateway.browsers import CrossOrigin
from services.gateway.console import files as console
from services.gateway.data import api as data
from services.gateway.gateway import Gateway
from services.gateway.settings import GatewaySettings


def create_app(settings: GatewaySettings, *, bus: Bus | None = None) -> FastAPI:
    """The application.

    Args:
        bus: the bus to announce records of calls on; None opens the one that fakts names.
    """
    lifespan = partial(_lifespan, settings=settings, bus=bus)
    app = web.create_app("gateway", lifespan=lifespan, routers=[api.routes, data.routes, console.routes])
    app.include_router(api.everything_else)
    app.user_middleware.append(Middleware(CrossOrigin))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, settings: GatewaySettings, bus: Bus | None) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=10.0) as http:
        gateway = Gateway(settings, http)
        app.state.gateway = gateway
        app.state.authenticator = gateway.authenticator
        app.state.checks |= {"joined": gateway.entry.check, "feeds": gateway.check_feeds}
        app.state.on_drain.append(gateway.stopping)
        REGISTRY.register(gateway.collector)
        try:
            async with gateway.running(bus):
                yield
        finally:
            REGISTRY.unregister(gateway.collector)
