"""The registry's application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from libs.common import web
from libs.common.bus import Bus
from libs.common.contracts.events import AUDIT_TOPIC, CALLS_TOPIC, AuditRecorded, CallsRecorded
from libs.common.idempotency import Answers
from libs.common.loops import running
from libs.common.service import runtime
from services.registry import audit, calls
from services.registry.api import ROUTERS
from services.registry.models import Answered
from services.registry.registry import Registry
from services.registry.settings import RegistrySettings

MIGRATIONS = "services.registry.migrations"


def create_app(settings: RegistrySettings, *, bus: Bus | None = None) -> FastAPI:
    """The application. It joins the platform when it starts; `bus` is used instead of the one that Fakts names."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        joining = runtime(app, settings, name="registry", requires=("deployer",), bus=bus, migrations=MIGRATIONS)
        async with joining as joined:
            registry = Registry.open(settings, joined)
            app.state.registry = registry
            app.state.answers = Answers(Answered)
            app.state.on_drain.append(registry.publisher.release)
            records = joined.bus.listen(calls.LISTENER, [CALLS_TOPIC], registry.calls.hear, accepts=[CallsRecorded])
            acts = joined.bus.listen(audit.LISTENER, [AUDIT_TOPIC], registry.audit.hear, accepts=[AuditRecorded])
            async with running(*registry.loops()), records, acts:
                yield

    return web.create_app("registry", lifespan=lifespan, routers=ROUTERS)
