"""What every service but fakts does to come up: join, follow the identity feed, open its database and the bus.

The order of leaving is the reverse: stop taking work, finish or give back, disconnect, end the lease.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

import httpx
from fastapi import FastAPI

from libs.common.auth import Authenticator, TokenVerifier
from libs.common.bus import Bus, open_bus
from libs.common.clients.fakts import FaktsClient
from libs.common.clients.feeds import FeedClient
from libs.common.contracts.identity import IDENTITY_FEED
from libs.common.contracts.joining import SERVICE_PREFIX, Alias
from libs.common.db import Database
from libs.common.directory import Directory
from libs.common.feed import FeedFollower
from libs.common.join import Membership, membership
from libs.common.loops import tasks
from libs.common.settings import ServiceSettings

__all__ = ["Runtime", "follow", "runtime"]


@dataclass(frozen=True)
class Runtime:
    """What a joined service has at hand."""

    http: httpx.AsyncClient
    member: Membership
    directory: Directory
    identity: FeedFollower
    authenticator: Authenticator
    bus: Bus
    database: Database | None
    """None for a service that keeps no tables."""


@asynccontextmanager
async def runtime(
    app: FastAPI,
    settings: ServiceSettings,
    *,
    name: str,
    requires: Sequence[str],
    bus: Bus | None,
    migrations: str | None = None,
    instance_id: str | None = None,
) -> AsyncIterator[Runtime]:
    """Join as `constellation.<name>` and open what the configuration allows, then offer the service's address.

    Puts `database`, `bus`, `authenticator` and readiness checks on `app.state`.

    Args:
        bus: the bus to use; None opens the one that Fakts names.
        instance_id: a UUID that this instance keeps over restarts, where it has one.
        migrations: package of the service's Alembic history; None for a service without tables.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=10.0))
        member = await stack.enter_async_context(
            membership(
                http,
                fakts_url=settings.fakts_url,
                token=settings.join_token.get_secret_value(),
                identifier=f"{SERVICE_PREFIX}{name}",
                version=package_version("constellation"),
                requires=("fakts", *requires),
                instance_id=instance_id,
            )
        )
        database = None
        if migrations is not None:
            if member.configuration.database_url is None:
                raise RuntimeError(f"Fakts gave {name} no database; set its database URL there")
            database = Database(member.configuration.database_url, name)
            stack.push_async_callback(database.close)
            await database.migrate(migrations)
            app.state.database = database
            app.state.checks["database"] = database.ping
        if bus is None:
            if member.configuration.bus_url is None:
                raise RuntimeError(f"Fakts gave {name} no bus; set its bus URL there")
            bus = await stack.enter_async_context(open_bus(member.configuration.bus_url))
        app.state.bus = bus
        directory = Directory()
        await member.offer(Alias(id=f"{name}-{member.instance_id}", host=settings.advertised, port=settings.port))
        await member.wait_for("fakts")
        identity = await stack.enter_async_context(
            follow(http, member, "fakts", IDENTITY_FEED, directory.apply, settings)
        )
        authenticator = Authenticator(
            TokenVerifier(member.jwks),
            directory,
            refresh=identity.refresh,
            exchange=FaktsClient(http, member).exchange_token,
        )
        app.state.authenticator = authenticator
        yield Runtime(http, member, directory, identity, authenticator, bus, database)


@asynccontextmanager
async def follow(
    http: httpx.AsyncClient,
    member: Membership,
    service: str,
    feed: str,
    apply: Callable[[str, dict[str, Any] | None], None],
    settings: ServiceSettings,
) -> AsyncIterator[FeedFollower]:
    """Follow a feed while the context is open, starting with the copy on disk where there is one."""
    client = FeedClient(http, member, service, feed)
    snapshot = settings.data_dir / "feeds" / f"{feed}.json"
    follower = FeedFollower(feed, client.fetch, apply, snapshot=snapshot)
    follower.load()
    async with tasks(follower.run()):
        yield follower
    follower.save()
