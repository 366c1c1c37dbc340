"""Satellites: `/admin/v1/satellites`."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Request, Response

from libs.common import idempotency, pages
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.openapi import PRECONDITION, reads, tagged
from services.registry import orders, satellite_views, satellites, views
from services.registry.api.admin import AskedPage, Word
from services.registry.api.requests import Parts, body
from services.registry.api.running import RunningOfSatellite
from services.registry.launch_statuses import Statuses
from services.registry.models import AcceptedKeys, Satellite
from services.registry.pages import Paging
from services.registry.satellites import SatelliteBody, SatelliteChange

routes = idempotency.router(admin_only, prefix="/admin/v1/satellites")

SATELLITE = "/{satellite_id:uuid}"
IfMatch = Annotated[
    list[str] | None,
    Header(
        alias="if-match",
        description="The ETag of the version that the change was made on. If it is not the newest: 412.",
    ),
]


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


@routes.get(SATELLITE, responses=tagged("The number of its newest version, in quotes."))
async def get_satellite(
    satellite_id: UUID, session: Session, response: Response, running: RunningOfSatellite
) -> dict[str, Any]:
    row = await satellites.get(session, satellite_id)
    response.headers["etag"] = satellites.tag(row)
    return await _with_running(session, row, running)


@routes.put(SATELLITE, openapi_extra=reads(SatelliteChange), responses=PRECONDITION)
async def change_satellite(
    request: Request,
    satellite_id: UUID,
    who: Caller,
    parts: Parts,
    session: Session,
    *,
    running: RunningOfSatellite,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Other algorithms make a new version. `running` says what still runs of earlier ones."""
    asked = await body(request, SatelliteChange)
    row = await parts.satellites.change(session, satellite_id, asked, who, if_match=if_match)
    return await _with_running(session, row, running)


@routes.delete(SATELLITE)
async def remove_satellite(
    satellite_id: UUID, who: Caller, parts: Parts, session: Session, running: RunningOfSatellite
) -> dict[str, Any]:
    """`running` says what still runs of it: launches whose configuration was removed before."""
    await parts.satellites.remove(session, satellite_id, who)
    rows = await orders.deployed(session, satellite_id=satellite_id)
    return {"removed": str(satellite_id), "running": satellite_views.still_running(rows, running)}


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


async def _with_running(session: Session, row: Satellite, running: Statuses) -> dict[str, Any]:
    rows = await orders.deployed(session, satellite_id=row.id)
    document = satellite_views.satellite(row, await satellites.version(session, row))
    return {**document, "running": satellite_views.still_running(rows, running)}
