"""The deployer's application: what it is made of, and the order in which it comes up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from libs.common import loops, service, web
from libs.common.bus import Bus
from libs.common.clients.fakts import FaktsClient
from libs.common.clients.registry import RegistryClient
from libs.common.clients.worker import WorkerClient
from libs.common.contracts.catalog import CATALOG_FEED
from libs.common.contracts.jobs import DEPLOY_QUEUE, LaunchChanged
from libs.common.contracts.launches import LAUNCHES_FEED
from libs.common.feed import FeedFollower, FeedPublisher
from libs.common.idempotency import Answers
from libs.common.service import Runtime
from services.deployer.api import admin, internal
from services.deployer.arrivals import Arrivals
from services.deployer.catalog import Catalog
from services.deployer.cluster_launches import ClusterLaunches
from services.deployer.clusters import Clusters
from services.deployer.gauges import Gauges
from services.deployer.hints import Hints
from services.deployer.launch_orders import LaunchOrders
from services.deployer.launches import Launches
from services.deployer.loops import Reconciler
from services.deployer.models import Answered, FeedEntry, FeedVersion
from services.deployer.purge import Purge
from services.deployer.reports import Reports
from services.deployer.routes import Routes
from services.deployer.satellite_source import PlatformSatellites
from services.deployer.settings import DeployerSettings

NAME = "deployer"
REQUIRES = ("registry", "worker")
MIGRATIONS = "services.deployer.migrations"


def create_app(settings: DeployerSettings, *, bus: Bus | None = None) -> FastAPI:
    """The application. It connects to nothing before its lifespan.

    Args:
        bus: the bus to use; None opens the one that Fakts names.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(
                service.runtime(
                    app, settings, name=NAME, requires=("registry", "worker"), bus=bus, migrations=MIGRATIONS
                )
            )
            catalog = Catalog()
            follower = await stack.enter_async_context(
                service.follow(here.http, here.member, "registry", CATALOG_FEED, catalog.apply, settings)
            )
            orders = LaunchOrders()
            launches = await stack.enter_async_context(
                service.follow(here.http, here.member, "registry", LAUNCHES_FEED, orders.apply, settings)
            )
            app.state.worker = partial(WorkerClient, here.http, here.member)
            background = _assemble(app, settings, here, catalog, follower, orders)
            app.state.arrivals = Arrivals(launches, app.state.reconciler, app.state.cluster_launches)

            async def deploy(_: LaunchChanged) -> None:
                await launches.refresh()

            await stack.enter_async_context(app.state.cluster_launches.running())
            await stack.enter_async_context(here.bus.consume(DEPLOY_QUEUE, deploy, accepts=[LaunchChanged]))
            await stack.enter_async_context(loops.running(*background))
            yield

    app = web.create_app(NAME, lifespan=lifespan, routers=(internal.routes, admin.routes))
    app.state.settings = settings
    return app


def _assemble(
    app: FastAPI,
    settings: DeployerSettings,
    here: Runtime,
    catalog: Catalog,
    follower: FeedFollower,
    orders: LaunchOrders,
) -> tuple[loops.Loop, ...]:
    """Put what the routes need on `app.state`; returns the loops to run."""
    assert here.database is not None  # noqa: S101 - the runtime opens one where there are migrations
    lease = timedelta(seconds=settings.worker_lease_seconds)
    feeds = FeedPublisher(here.database, FeedVersion, FeedEntry)
    routes = Routes(feeds, grace=timedelta(seconds=settings.pending_grace_seconds))
    hints = Hints(here.bus)
    launches = Launches(orders, catalog, feeds)
    reconciler = Reconciler(here.database, catalog, follower, routes, hints, launches, orders, lease=lease)
    gauges = Gauges(here.database)
    known = Clusters(settings.clusters)
    source = PlatformSatellites(RegistryClient(here.http, here.member), FaktsClient(here.http, here.member))
    look = timedelta(seconds=settings.cluster_look_seconds)
    in_clusters = ClusterLaunches(here.database, orders, launches, source, known, look=look)

    def ordered() -> None:
        reconciler.loop.wake()
        in_clusters.loop.wake()

    catalog.on_change = reconciler.loop.wake
    orders.on_change = ordered
    app.state.clusters = known
    app.state.cluster_launches = in_clusters
    app.state.feeds = feeds
    app.state.on_drain.append(feeds.release)
    app.state.answers = Answers(Answered)
    app.state.catalog = catalog
    app.state.reconciler = reconciler
    app.state.gauges = gauges
    app.state.reports = Reports(routes, lease=lease, wake=reconciler.loop.wake)

    async def catalog_is_whole() -> None:
        if not follower.complete:
            raise RuntimeError("the catalog has not arrived from the registry yet")

    app.state.checks["catalog"] = catalog_is_whole
    purge = Purge(here.database, hints, settings)
    return feeds.loop, feeds.forgetting, reconciler.loop, in_clusters.loop, purge.loop, gauges.loop
