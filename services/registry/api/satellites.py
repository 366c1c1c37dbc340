"""Satellites: `/admin/v1/satellites`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request

from libs.common import idempotency, pages
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.openapi import reads
from services.registry import launches, satellite_views, satellites, views
from services.registry.api.admin import AskedPage, Word
from services.registry.api.requests import Parts, body
from services.registry.models import AcceptedKeys
from services.registry.pages import Paging
from services.registry.satellites import SatelliteBody, SatelliteChange

routes = idempotency.router(admin_only, prefix="/admin/v1/satellites")

SATELLITE = "/{satellite_id:uuid}"


@routes.get("")
async def list_satellites(session: Session, asked: AskedPage, *, q: Word = None) -> dict[str, Any]:
    """By name; with `q`, those that have the text in it."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.text, pages.identifier)
    page = await satellites.page(session, paging, search=q)
    newest = await satellites.newest_versions(session, page.entries)
    return views.admin_listing(page, lambda row: satellite_views.satellite(row, newest[row.id]))


@routes.post("", status_code=201, openapi_extra=reads(SatelliteBody))
async def create_satellite(request: Request, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    row = await parts.satellites.create(session, await body(request, SatelliteBody), who)
    return satellite_views.satellite(row, await satellites.version(session, row))


@routes.get(SATELLITE)
async def get_satellite(satellite_id: UUID, parts: Parts, session: Session) -> dict[str, Any]:
    row = await satellites.get(session, satellite_id)
    return await _with_running(row.id, parts, session)


@routes.put(SATELLITE, openapi_extra=reads(SatelliteChange))
async def change_satellite(
    request: Request, satellite_id: UUID, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    """Other algorithms make a new version. `running` says what still runs of earlier ones."""
    row = await parts.satellites.change(session, satellite_id, await body(request, SatelliteChange), who)
    return await _with_running(row.id, parts, session)


@routes.delete(SATELLITE)
async def remove_satellite(satellite_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """`running` says what still runs of it: launches whose configuration was removed before."""
    await parts.satellites.remove(session, satellite_id, who)
    rows = await launches.deployed(session, satellite_id=satellite_id)
    statuses = await parts.launch_statuses([launch.id for launch, _ in rows])
    return {"removed": str(satellite_id), "running": satellite_views.still_running(rows, statuses)}


@routes.get(f"{SATELLITE}/versions")
async def list_versions(satellite_id: UUID, session: Session, asked: AskedPage) -> dict[str, Any]:
    row = await satellites.get(session, satellite_id)
    page = await satellites.versions(session, row, Paging.parse(asked.limit, asked.cursor, pages.number))
    return views.admin_listing(page, satellite_views.satellite_version)


@routes.get(f"{SATELLITE}/versions/{{number:int}}")
async def get_version(satellite_id: UUID, number: int, session: Session) -> dict[str, Any]:
    found = await satellites.version(session, await satellites.get(session, satellite_id), number)
    keys = await session.get_one(AcceptedKeys, found.keys)
    return satellite_views.satellite_version(found, len(keys.keys))


@routes.post(f"{SATELLITE}/versions", status_code=201)
async def renew_keys(satellite_id: UUID, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """A new version with the same algorithms, which accepts the API keys of today."""
    row = await parts.satellites.renew_keys(session, satellite_id, who)
    return satellite_views.satellite(row, await satellites.version(session, row))


async def _with_running(satellite_id: UUID, parts: Parts, session: Session) -> dict[str, Any]:
    row = await satellites.get(session, satellite_id)
    rows = await launches.deployed(session, satellite_id=row.id)
    statuses = await parts.launch_statuses([launch.id for launch, _ in rows])
    document = satellite_views.satellite(row, await satellites.version(session, row))
    return {**document, "running": satellite_views.still_running(rows, statuses)}
