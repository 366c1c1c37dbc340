"""Fakts: who you are, and where everything is.

Unlike the other services it does not join: it opens the database of its settings, prepares what must be there, and
follows its own identity feed, so that it checks who asks just as the others do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version as package_version
from uuid import uuid4

import httpx
from authlib.oauth2 import OAuth2Error
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware import Middleware

from libs.common import logs, web
from libs.common.auth import Authenticator, TokenVerifier
from libs.common.bus import Bus, BusRefused, open_bus
from libs.common.contracts.identity import IDENTITY_FEED
from libs.common.db import Database
from libs.common.directory import Directory
from libs.common.feed import FeedFollower, FeedPublisher
from libs.common.idempotency import Answers
from libs.common.loops import running, tasks
from services.fakts import bootstrap, locks, loops, master_key
from services.fakts.api import ROUTERS
from services.fakts.api.forms import on_refusal
from services.fakts.audit import Audit
from services.fakts.body_limit import BodyLimit
from services.fakts.context import Context
from services.fakts.cors import CrossOrigin
from services.fakts.identity.attempts import SignInAttempts
from services.fakts.identity.feed import IdentityFeed
from services.fakts.identity.foreign import ForeignIssuers
from services.fakts.identity.passwords import Passwords
from services.fakts.limits import Rate
from services.fakts.master_key import MasterKey
from services.fakts.models import Answered, FeedEntry, FeedVersion, SigningKey
from services.fakts.oauth.keys import SigningKeys
from services.fakts.outgoing import Outgoing
from services.fakts.pages import providers, routes
from services.fakts.pages.upstream import Providers
from services.fakts.settings import FaktsSettings

log = logs.get(__name__)

MIGRATIONS = "services.fakts.migrations"
SCHEMA = "fakts"
_REFUSED_PAUSE = 10.0
_READY_SECONDS = 30.0


def create_app(settings: FaktsSettings, *, bus: Bus | None = None) -> FastAPI:
    """The application.

    Args:
        bus: the bus to announce audit events on; None opens the one of the settings, or leaves them in their table.
    """
    app = web.create_app(
        SCHEMA, lifespan=partial(_lifespan, settings=settings, bus=bus), routers=(*ROUTERS, *routes.ROUTERS)
    )
    routes.install(app, settings.deployment_name)
    app.add_exception_handler(OAuth2Error, on_refusal)
    app.user_middleware += [Middleware(CrossOrigin), Middleware(BodyLimit)]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, settings: FaktsSettings, bus: Bus | None) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.get_secret_value(), SCHEMA)
        stack.push_async_callback(database.close)
        await database.migrate(MIGRATIONS)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5.0))
        context = _context(settings, database, await _master_key(database, settings), Outgoing(http))
        await context.keys.maintain()
        await bootstrap.prepare(context)

        directory = Directory()
        follower = FeedFollower(IDENTITY_FEED, partial(context.publisher.page, IDENTITY_FEED), directory.apply)
        app.state.context = context
        app.state.database = database
        app.state.answers = Answers(Answered, context.master)
        app.state.authenticator = Authenticator(
            TokenVerifier(context.keys.jwks), directory, refresh=follower.refresh, exchange=context.foreign.vouch
        )
        app.state.checks["database"] = database.ping
        app.state.on_drain.append(context.publisher.release)

        own = loops.OwnInstance(context, uuid4())
        await stack.enter_async_context(
            running(
                context.publisher.loop,
                context.publisher.forgetting,
                context.audit.loop,
                own.loop,
                loops.signing_keys(context),
                loops.purge(context),
            )
        )
        await stack.enter_async_context(tasks(follower.run()))
        if bus is not None:
            context.audit.bus = bus
        elif settings.bus_url is not None:
            await stack.enter_async_context(tasks(_keep_bus(context.audit, settings.bus_url.get_secret_value())))
        async with asyncio.timeout(_READY_SECONDS):
            await follower.ready.wait()
        await own.offer()
        stack.push_async_callback(_leave, own)
        yield


def _context(settings: FaktsSettings, database: Database, master: MasterKey, outgoing: Outgoing) -> Context:
    publisher = FeedPublisher(database, FeedVersion, FeedEntry)
    keys = SigningKeys(database, master, settings)
    feed, audit = IdentityFeed(publisher), Audit(database)
    return Context(
        settings=settings,
        version=package_version("constellation"),
        database=database,
        master=master,
        keys=keys,
        publisher=publisher,
        feed=feed,
        audit=audit,
        passwords=Passwords(),
        attempts=SignInAttempts(),
        providers=Providers(providers.load(settings.providers_file) if settings.providers_file else ()),
        token_requests=Rate(settings.token_requests_per_minute, 60),
        starts=Rate(settings.starts_per_minute, 60),
        guesses=Rate(settings.guesses_per_minute, 60),
        foreign=ForeignIssuers(database, feed, audit, outgoing),
    )


async def _master_key(database: Database, settings: FaktsSettings) -> MasterKey:
    """The master key, checked against a key that it sealed. It is only ever made before there is one."""
    async with database.transaction() as session:
        await locks.take(session, locks.SIGNING_KEYS)
        sealed = await session.scalar(select(SigningKey).limit(1))
        master = master_key.load(settings, create=sealed is None)
        if sealed is not None:
            SigningKeys(database, master, settings).check(sealed)
    return master


async def _keep_bus(audit: Audit, url: str) -> None:
    """Announce on the broker's bus while it lets us in. Fakts works without: what is not announced waits in rows."""
    while True:
        try:
            async with open_bus(url) as bus:
                audit.bus = bus
                audit.loop.wake()
                try:
                    await asyncio.Event().wait()
                finally:
                    audit.bus = None
        except BusRefused as error:
            log.warning("bus_refused", reason=logs.redact(str(error)))
            await asyncio.sleep(_REFUSED_PAUSE)


async def _leave(own: loops.OwnInstance) -> None:
    """Best effort: the lease would lapse by itself."""
    with suppress(SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            await own.leave()
