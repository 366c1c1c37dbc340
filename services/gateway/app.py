"""The gateway: the one address. It is served with `protocol.http_protocol`, which takes the calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
from services.gateway.data import api as data
from services.gateway.gateway import Gateway
from services.gateway.knowledge import Knowledge, Source
from services.gateway.platform import Platform
from services.gateway.satellite import api as satellite
from services.gateway.satellite import names, plan
from services.gateway.satellite.files import WatchedFile
from services.gateway.satellite.routes import Routes
from services.gateway.satellite.source import Satellite
from services.gateway.settings import GatewaySettings

SourceOf = Callable[[httpx.AsyncClient, Knowledge], Source]


def create_app(settings: GatewaySettings, *, bus: Bus | None = None, routes: Routes | None = None) -> FastAPI:
    """The application: of a gateway of the platform, or, where the settings name a plan, of a satellite's.

    Args:
        bus: the bus to announce records of calls on; None opens the one that fakts names.
        routes: for a satellite whose replicas are started by this process: it says which there are.

    Raises:
        FileRefused: a satellite's plan or replicas cannot be used; the message says why.
    """
    if settings.satellite_plan is None:
        source: SourceOf = partial(Platform, settings, bus)
        answers, last = [api.routes, api.calls, data.routes], api.everything_else
    else:
        WatchedFile(settings.satellite_plan, plan.read).load()
        if settings.satellite_replicas is not None:
            WatchedFile(settings.satellite_replicas, names.read).load()
        source = partial(Satellite, settings, routes)
        answers, last = [api.calls], satellite.nothing_else
    lifespan = partial(_lifespan, settings=settings, source=source)
    app = web.create_app("gateway", lifespan=lifespan, routers=answers)
    app.include_router(last)
    app.user_middleware.append(Middleware(CrossOrigin))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, settings: GatewaySettings, source: SourceOf) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=10.0) as http:
        gateway = Gateway(settings, partial(source, http))
        app.state.gateway = gateway
        app.state.checks |= gateway.source.checks
        app.state.on_drain.append(gateway.stopping)
        REGISTRY.register(gateway.collector)
        try:
            async with gateway.running():
                yield
        finally:
            REGISTRY.unregister(gateway.collector)
