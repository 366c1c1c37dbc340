"""Launch instances: `/admin/v1/launches`, and those of one satellite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from libs.common import idempotency, pages
from libs.common.auth import Caller, admin_only
from libs.common.contracts.bundles import Bundle, BundleAwaited
from libs.common.db import Session
from libs.common.openapi import reads
from services.registry import launches, orders, reports, satellite_views, satellites, views
from services.registry.api.admin import Asked, AskedPage, Word
from services.registry.api.requests import Parts, body
from services.registry.api.running import RunningOfLaunch
from services.registry.launch_fields import LaunchBody, LaunchChange
from services.registry.launch_statuses import Statuses
from services.registry.models import Launch, Satellite
from services.registry.pages import Paging
from services.registry.registry import Registry

routes = idempotency.router(admin_only, prefix="/admin/v1")

LAUNCH = "/launches/{launch_id:uuid}"
OF_SATELLITE = "/satellites/{satellite_id:uuid}/launches"


class VersionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    satellite_version: int | None = None


class PromotionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    to: UUID
    """The launch that takes the version over."""


@routes.get("/launches")
async def list_launches(parts: Parts, asked: AskedPage, *, q: Word = None) -> dict[str, Any]:
    """By name; with `q`, those that have the text in name or description."""
    return await _listing(parts, asked, q)


@routes.get(OF_SATELLITE)
async def list_launches_of_satellite(
    satellite_id: UUID, parts: Parts, asked: AskedPage, *, q: Word = None
) -> dict[str, Any]:
    return await _listing(parts, asked, q, satellite_id)


@routes.post(OF_SATELLITE, status_code=201, openapi_extra=reads(LaunchBody))
async def create_launch(
    request: Request, satellite_id: UUID, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    row = await parts.launches.create(session, satellite_id, await body(request, LaunchBody), who)
    return await _document(parts, session, row, {})


@routes.get(LAUNCH)
async def get_launch(launch_id: UUID, parts: Parts, session: Session, running: RunningOfLaunch) -> dict[str, Any]:
    return await _document(parts, session, await launches.get(session, launch_id), running)


@routes.patch(LAUNCH, openapi_extra=reads(LaunchChange))
async def change_launch(
    request: Request, launch_id: UUID, who: Caller, parts: Parts, session: Session, *, running: RunningOfLaunch
) -> dict[str, Any]:
    """Changes nothing that runs: `running` says what does, until the launch is deployed again."""
    asked = await body(request, LaunchChange)
    return await _document(parts, session, await parts.launches.change(session, launch_id, asked, who), running)


@routes.delete(LAUNCH)
async def remove_launch(
    launch_id: UUID, who: Caller, parts: Parts, session: Session, running: RunningOfLaunch
) -> dict[str, Any]:
    """Removes the configuration only. `running` says what still runs; stop it with `POST .../stop`, also later."""
    await parts.launches.remove(session, launch_id, who)
    return {"removed": str(launch_id), "running": satellite_views.running(launch_id, running)}


@routes.get(f"{LAUNCH}/orders")
async def list_orders(launch_id: UUID, session: Session, asked: AskedPage) -> dict[str, Any]:
    """What was ordered of the launch, by whom and when, newest first."""
    page = await orders.page(session, launch_id, Paging.parse(asked.limit, asked.cursor, pages.number))
    return views.admin_listing(page, satellite_views.order_document)


@routes.post(f"{LAUNCH}/deploy", status_code=202, openapi_extra=reads(VersionBody))
async def deploy(request: Request, launch_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Bring the launch's version, or the one that the body names, to run. The answer is the deployment. One that is
    paused is resumed first."""
    asked = await body(request, VersionBody)
    order = await parts.launches.deploy(session, launch_id, who, version=asked.satellite_version)
    return satellite_views.deployment(order)


@routes.post(f"{LAUNCH}/stop", status_code=202)
async def stop(launch_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """End all that runs of the launch, also of one that is paused."""
    return satellite_views.deployment(await parts.launches.stop(session, launch_id, who))


@routes.post(f"{LAUNCH}/rollback", status_code=202, openapi_extra=reads(VersionBody))
async def roll_back(request: Request, launch_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Deploy the version before, or the one that the body names."""
    asked = await body(request, VersionBody)
    order = await parts.launches.roll_back(session, launch_id, who, version=asked.satellite_version)
    return satellite_views.deployment(order)


@routes.post(f"{LAUNCH}/promote", status_code=202, openapi_extra=reads(PromotionBody))
async def promote(
    request: Request, launch_id: UUID, who: Caller, parts: Parts, session: Session, *, running: RunningOfLaunch
) -> dict[str, Any]:
    """Deploy the version that runs here with another launch of the satellite: from dev to stage to prod. Only what is
    deployed as it was ordered is promoted."""
    asked = await body(request, PromotionBody)
    return satellite_views.deployment(await parts.launches.promote(session, launch_id, asked.to, who, running))


@routes.get(f"{LAUNCH}/bundle", responses={202: {"model": BundleAwaited}})
async def get_bundle(launch_id: UUID, who: Caller, parts: Parts, response: Response) -> Bundle | BundleAwaited:
    """The launch's configured version, to be carried away, with the secrets of its algorithms. Blobs of its images:
    `/admin/v1/images/blobs`. Status 202 while something of it is being made: ask again."""
    found = await parts.bundle(launch_id, who)
    response.headers["cache-control"] = "no-store"
    if isinstance(found, BundleAwaited):
        response.status_code = 202
        response.headers["retry-after"] = "2"
    return found


@routes.post(f"{LAUNCH}/pause")
async def pause(launch_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Start and end nothing of the launch until it is resumed. Calls go on."""
    return satellite_views.deployment(await parts.launches.pause(session, launch_id, who, paused=True))


@routes.post(f"{LAUNCH}/resume")
async def resume(launch_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    return satellite_views.deployment(await parts.launches.pause(session, launch_id, who, paused=False))


async def _document(parts: Registry, session: Session, row: Launch, running: Statuses) -> dict[str, Any]:
    satellite = await session.get_one(Satellite, row.satellite_id)
    order = await orders.newest(session, row.id)
    document = satellite_views.launch(row, satellite.name, order, running)
    heard = await reports.runs(session, row.id, stale=timedelta(seconds=parts.settings.satellite_stale_seconds))
    wanted = satellite_views.wanted_version(row, order)
    document["satellites"] = [satellite_views.gateway(one, stale=is_stale, wanted=wanted) for one, is_stale in heard]
    return document


async def _listing(parts: Registry, asked: Asked, search: str | None, of: UUID | None = None) -> dict[str, Any]:
    """A page of all launches, or of those of a satellite."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.text, pages.identifier)
    async with parts.database.transaction() as session:
        if of is not None:
            await satellites.get(session, of)
        page = await launches.page(session, paging, satellite_id=of, search=search)
        newest = await orders.newest_of(session, page.entries)
        names = await satellites.names(session, {row.satellite_id for row in page.entries})
    running = await parts.launch_statuses([*newest])
    return views.admin_listing(
        page, lambda row: satellite_views.launch(row, names[row.satellite_id], newest.get(row.id), running)
    )
