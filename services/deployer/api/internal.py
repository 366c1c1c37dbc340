"""Routes for other services of the platform."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from pydantic import BaseModel, Field

from libs.common import db
from libs.common.auth import Caller, service_only
from libs.common.contracts.feeds import FeedPage
from libs.common.contracts.identity import Principal
from libs.common.contracts.launches import LAUNCHED_FEED, LaunchStatus
from libs.common.contracts.replicas import ROUTES_FEED, DemandReport, WorkerOrders, WorkerReport
from libs.common.db import Session
from libs.common.feed import FeedPublisher
from libs.common.problems import Forbidden
from libs.common.web import router
from services.deployer import demand, launch_listings
from services.deployer.loops import Reconciler
from services.deployer.reports import Reports
from services.deployer.settings import DeployerSettings

routes = router(service_only, relays=True)


@routes.get(f"/internal/feeds/{ROUTES_FEED}")
async def routes_feed(
    request: Request,
    since: Annotated[int, Query(ge=0)] = 0,
    epoch: str = "",
    wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
) -> FeedPage:
    feeds: FeedPublisher = request.app.state.feeds
    return await feeds.page(ROUTES_FEED, since=since, epoch=epoch, wait=wait)


@routes.get(f"/internal/feeds/{LAUNCHED_FEED}")
async def launched_feed(
    request: Request,
    since: Annotated[int, Query(ge=0)] = 0,
    epoch: str = "",
    wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
) -> FeedPage:
    feeds: FeedPublisher = request.app.state.feeds
    return await feeds.page(LAUNCHED_FEED, since=since, epoch=epoch, wait=wait)


class LaunchesAsked(BaseModel):
    ids: tuple[UUID, ...] = Field(max_length=1000)


class LaunchesAnswer(BaseModel):
    launches: tuple[LaunchStatus, ...]


@routes.post("/internal/launches")
async def launch_statuses(asked: LaunchesAsked, session: Session) -> LaunchesAnswer:
    """How launches are doing; those that were never ordered are left out."""
    return LaunchesAnswer(launches=tuple(await launch_listings.statuses(session, asked.ids)))


@routes.post("/internal/demand", status_code=204)
async def report_demand(request: Request, word: DemandReport, session: Session, caller: Caller) -> None:
    _only(caller, "gateway")
    settings: DeployerSettings = request.app.state.settings
    reconciler: Reconciler = request.app.state.reconciler
    now = await db.moment(session)
    await demand.report(session, word, now=now, seconds=settings.demand_seconds, wake=reconciler.loop.wake)


@routes.post("/internal/workers/{worker_id}/report")
async def report_worker(
    request: Request, worker_id: str, report: WorkerReport, session: Session, caller: Caller
) -> WorkerOrders:
    _only(caller, "worker")
    if caller.instance != worker_id:
        raise Forbidden(f"worker '{caller.instance}' cannot report for worker '{worker_id}'")
    reports: Reports = request.app.state.reports
    return await reports.take(session, worker_id, report, await db.moment(session))


def _only(caller: Principal, service: str) -> None:
    if caller.name != service:
        raise Forbidden(f"this route is for {service}s, and you are a {caller.name}")
