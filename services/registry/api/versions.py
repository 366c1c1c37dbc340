"""Routes of versions: publish, compile, list, read. `/version` is another spelling of `/versions`."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from libs.common import idempotency, pages, web
from libs.common.auth import Caller, account_only, manager_only
from libs.common.db import Session
from libs.common.openapi import also, reads
from services.registry import access, store, versions, views
from services.registry.access import NoSuchAlgorithm
from services.registry.api.requests import (
    Parts,
    Subject,
    body,
    flag,
    links,
    next_link,
    of_algorithm,
    paging,
    subject,
)
from services.registry.versions import PublishRequest, Version

routes = web.router(account_only)
changes = idempotency.router(manager_only)
compilations = web.router(manager_only)
"""Asked again, one waits for the same build."""

CLIENT_CLOSED_REQUEST = 499


@of_algorithm(changes, "POST", "/versions", openapi_extra=reads(PublishRequest))
@of_algorithm(changes, "POST", "/version", openapi_extra=reads(PublishRequest))
async def publish(request: Request, row: Subject, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
    found = await parts.versions.publish(session, row.id, await body(request, PublishRequest), who)
    return views.version(row, found, links(request), insider=True)


@of_algorithm(compilations, "POST", "/compile", responses=also(504))
async def compile_head(request: Request, who: Caller, parts: Parts) -> Response:
    """Build the head of master, and answer when that is finished. No transaction is open meanwhile."""
    async with parts.database.transaction() as session:
        row = await subject(request, session)
        access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
        build = await parts.compilations.start(session, row.id)
    await request.body()
    finished = await parts.compilations.wait(build.id, request.is_disconnected)
    if finished is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    async with parts.database.transaction() as session:
        found = await versions.get(session, row.id, finished.commit, insider=True)
    return JSONResponse(views.version(row, found, links(request), insider=True))


@of_algorithm(routes, "GET", "/versions")
@of_algorithm(routes, "GET", "/version")
async def list_versions(request: Request, row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    insider = access.insider(who, row.owner)
    published, public = flag(request, "published"), flag(request, "callable")
    if not insider:
        await _check_public(session, row.id)
        if published is False or public is False:
            return {"marker": None, "next_link": None, "results": []}
        published = public = True
    page = await versions.page(session, row.id, paging(request, pages.number), published=published, public=public)
    address = links(request)

    def view(found: Version) -> dict[str, Any]:
        return views.version(row, found, address, insider=insider)

    return views.listing(page, view, next_link(request, page))


@of_algorithm(routes, "GET", "/versions/{version}")
@of_algorithm(routes, "GET", "/version/{version}")
async def get_version(request: Request, version: str, row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    """A version by the hash of its commit, or by its number."""
    insider = access.insider(who, row.owner)
    if not insider:
        await _check_public(session, row.id)
    found = await versions.get(session, row.id, version, insider=insider)
    return views.version(row, found, links(request), insider=insider)


async def _check_public(session: Session, algorithm_id: Any) -> None:
    if not await store.is_public(session, algorithm_id):
        raise NoSuchAlgorithm
