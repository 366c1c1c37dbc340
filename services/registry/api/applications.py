"""Applications: `/admin/v1/applications`."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from libs.common import idempotency, pages
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.openapi import reads
from services.registry import application_views, applications, linked_versions, views
from services.registry.api.admin import AskedPage, Word
from services.registry.api.requests import Parts, body
from services.registry.api.running import RunningOfApplication
from services.registry.application_fields import (
    ApplicationBody,
    ApplicationChange,
    CurrentBody,
    LinkBody,
    ReplicasBody,
)
from services.registry.models import Application
from services.registry.pages import Paging

routes = idempotency.router(admin_only, prefix="/admin/v1/applications")

APPLICATION = "/{name}"
VERSION = "/{name}/versions/{owner}/{algorithm}/{commit}"


@routes.get("")
async def list_applications(parts: Parts, asked: AskedPage, *, q: Word = None) -> dict[str, Any]:
    """By name; with `q`, those that have the text in name or description."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.text, pages.identifier)
    async with parts.database.transaction() as session:
        page = await applications.page(session, paging, search=q)
        linked = await linked_versions.of_all(session, page.entries)
    statuses = await parts.launch_statuses([one.id for one in linked])
    return views.admin_listing(
        page,
        lambda row: application_views.inspected(
            row, [one for one in linked if one.application_id == row.id], statuses
        ),
    )


@routes.post("", status_code=201, openapi_extra=reads(ApplicationBody))
async def create_application(request: Request, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    row = await parts.applications.create(session, await body(request, ApplicationBody), who)
    return await _document(session, row)


@routes.get(APPLICATION)
async def get_application(name: str, parts: Parts) -> dict[str, Any]:
    """With its versions, and what runs of each. Replicas one by one: `GET /admin/v1/deployments/{deployment_id}`."""
    async with parts.database.transaction() as session:
        row = await applications.get(session, name)
        linked = await linked_versions.of_all(session, [row])
    statuses = await parts.launch_statuses([one.id for one in linked])
    return application_views.inspected(row, linked, statuses)


@routes.patch(APPLICATION, openapi_extra=reads(ApplicationChange))
async def change_application(
    request: Request, name: str, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    """What is absent stays; null takes the default answer or the latency goal away."""
    row = await parts.applications.change(session, name, await body(request, ApplicationChange), who)
    return await _document(session, row)


@routes.delete(APPLICATION)
async def remove_application(name: str, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Nothing answers to the name any more, and the replicas of its versions end."""
    await parts.applications.remove(session, name, who)
    return {"removed": name}


@routes.post(f"{APPLICATION}/versions", status_code=201, openapi_extra=reads(LinkBody))
async def link_version(request: Request, name: str, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """Start a version beside the others. The first one is current at once."""
    asked = await body(request, LinkBody)
    return await _document(
        session, await parts.applications.link(session, name, asked.algorithm, asked.replicas, who)
    )


@routes.patch(VERSION, openapi_extra=reads(ReplicasBody))
async def set_replicas(
    request: Request,
    name: str,
    owner: str,
    algorithm: str,
    commit: str,
    *,
    who: Caller,
    parts: Parts,
    session: Session,
) -> dict[str, Any]:
    """Give a version so many replicas. One that is stopped is started."""
    asked = await body(request, ReplicasBody)
    version = f"{owner}/{algorithm}/{commit}"
    return await _document(
        session, await parts.applications.set_replicas(session, name, version, asked.replicas, who)
    )


@routes.delete(VERSION)
async def unlink_version(
    name: str, owner: str, algorithm: str, commit: str, *, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    """End a version that is not current. The others run on."""
    version = f"{owner}/{algorithm}/{commit}"
    row = await parts.applications.unlink(session, name, version, who)
    return await _document(session, row)


@routes.post(f"{APPLICATION}/set-version", openapi_extra=reads(CurrentBody))
async def set_version(
    request: Request, name: str, who: Caller, parts: Parts, session: Session, *, running: RunningOfApplication
) -> dict[str, Any]:
    """Make a linked version current: at once if it is ready. Else `switching_to` names it until it is, and the one
    before answers till then; one that is stopped is started."""
    asked = await body(request, CurrentBody)
    row = await parts.applications.set_version(session, name, asked.algorithm, who, running)
    return await _document(session, row)


@routes.post(f"{APPLICATION}/stop-inactive")
async def stop_inactive(name: str, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    """End the replicas of all versions but the current one. They stay linked, and start when made current."""
    return await _document(session, await parts.applications.stop_inactive(session, name, who))


async def _document(session: Session, row: Application) -> dict[str, Any]:
    return application_views.application(row, await linked_versions.of_all(session, [row]))
