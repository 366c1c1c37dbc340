"""Routes of algorithms: create, read, change, delete, list."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from libs.common import idempotency, pages, web
from libs.common.auth import Caller, account_only, manager_only
from libs.common.contracts.identity import Principal
from libs.common.contracts.references import NAME
from libs.common.db import Session
from libs.common.openapi import reads
from libs.common.problems import Forbidden, Invalid, NotFound
from services.registry import access, algorithms, still_serving, store, versions, views
from services.registry.access import NO_SUCH_ALGORITHM, NoSuchAlgorithm
from services.registry.algorithms import CreateRequest, UpdateRequest
from services.registry.api.requests import Parts, Subject, body, links, next_link, of_algorithm, paging, subject
from services.registry.git_process import GitFailed
from services.registry.registry import Registry

routes = web.router(account_only)
changes = idempotency.router(manager_only)


@of_algorithm(routes, "GET", "")
async def get_algorithm(request: Request, who: Caller, session: Session) -> Response:
    """The newest version that the caller may see, or the algorithm itself while there is none. An absent one answers
    with a text in the place of the error object, as published clients expect of this route."""
    try:
        row = await subject(request, session)
        insider = access.insider(who, row.owner)
        newest = await versions.newest(session, row.id, insider=insider)
        if newest is None:
            access.check_insider(who, row.owner)
    except NoSuchAlgorithm:
        return JSONResponse({"error": NO_SUCH_ALGORITHM}, 404)
    return JSONResponse(views.algorithm(row, links(request), newest, insider=insider))


@changes.post("/v1/algorithms/{owner}", status_code=201, openapi_extra=reads(CreateRequest))
async def create_algorithm(
    request: Request, owner: str, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    await _check_owner(parts, who, owner)
    row = await parts.algorithms.create(session, owner, await body(request, CreateRequest), who)
    return views.algorithm(row, links(request), insider=True)


@of_algorithm(changes, "PUT", "", openapi_extra=reads(UpdateRequest))
async def update_algorithm(
    request: Request, row: Subject, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    """Change what the body names. A form changes nothing: the published client sends one that has no values."""
    access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
    if not await _is_bare_form(request):
        row = await parts.algorithms.update(session, row.id, await body(request, UpdateRequest), who)
    newest = await versions.newest(session, row.id, insider=True)
    return views.algorithm(row, links(request), newest, insider=True)


@of_algorithm(changes, "DELETE", "", status_code=204)
async def delete_algorithm(request: Request, who: Caller, parts: Parts) -> Response:
    async with parts.database.transaction() as session:
        row = await subject(request, session)
        access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
        found = await still_serving.candidates(session, row.id)
    statuses = await parts.launch_statuses([one.launch_id for one in found])
    async with parts.database.transaction() as session:
        await parts.algorithms.delete(session, row.id, who, statuses)
    return Response(status_code=204)


@routes.get("/v1/algorithms")
async def list_algorithms(request: Request, who: Caller, session: Session) -> dict[str, Any]:
    """All algorithms that the caller may know of."""
    return await _list(request, who, session, None)


@routes.get("/v1/users/{name}/algorithms")
async def list_algorithms_of(request: Request, name: str, who: Caller, session: Session) -> dict[str, Any]:
    """Algorithms of one owner, user or organization, as far as the caller may know of them."""
    return await _list(request, who, session, name)


@of_algorithm(routes, "GET", "/scm/status")
async def get_scm_status(row: Subject, who: Caller) -> dict[str, Any]:
    access.check_insider(who, row.owner)
    return views.SCM_STATUS


@of_algorithm(routes, "GET", "/log")
async def get_commits(request: Request, row: Subject, who: Caller, parts: Parts) -> dict[str, Any]:
    """Commits of master, newest first: those after `since`, up to `until`."""
    access.check_insider(who, row.owner)
    query = request.query_params
    try:
        commits = await parts.repositories.commits(
            row.id, since=query.get("since") or None, until=query.get("until") or None
        )
    except GitFailed:
        raise Invalid("'since' and 'until' name commits of this repository by their 40 hex digits") from None
    return {
        "commits": [
            {"id": one.id, "short_message": one.subject, "message": one.message, "author": one.author}
            for one in commits
        ]
    }


async def _list(request: Request, who: Principal, session: Session, owner: str | None) -> dict[str, Any]:
    if owner is not None and not NAME.fullmatch(owner):
        raise NotFound(f"'{owner}' is no account", code=3000)
    page = await algorithms.page(session, paging(request, pages.text, pages.text), who, owner=owner)
    address = links(request)
    return views.listing(
        page,
        lambda row: views.algorithm(row, address, insider=access.insider(who, row.owner)),
        next_link(request, page),
    )


async def _check_owner(parts: Registry, who: Principal, owner: str) -> None:
    """Raises Forbidden alike for owners that exist and others; administrators are told which do not."""
    if not access.manages(who, owner):
        raise Forbidden(f"you may not create algorithms for '{owner}'")
    if owner not in parts.runtime.directory.accounts:
        await parts.runtime.identity.refresh()
    if owner not in parts.runtime.directory.accounts:
        raise NotFound(f"there is no account '{owner}'", code=3000)


async def _is_bare_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/x-www-form-urlencoded" and not (await request.body()).lstrip().startswith(b"{")
