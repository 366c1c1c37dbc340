"""Routes below /admin/v1. Audit and calls are for administrators; algorithms and builds also for those who belong to
their owner, each seeing their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict

from libs.common import idempotency, pages, web
from libs.common.auth import Caller, account_only, admin_only
from libs.common.contracts.identity import Principal
from libs.common.db import Session
from libs.common.problems import NotFound
from services.registry import access, algorithms, audit, build_logs, builds, calls, store, versions, views
from services.registry.access import NoSuchAlgorithm
from services.registry.algorithm_settings import ScalingChange
from services.registry.api.requests import Parts, links
from services.registry.models import Build
from services.registry.pages import Paging

routes = idempotency.router(account_only)
administrators = web.router(admin_only)

ALGORITHM = "/admin/v1/algorithms/{algorithm_id:uuid}"
BUILD = "/admin/v1/builds/{build_id:uuid}"
MAX_WAIT = 25.0
_LOOK_EVERY = 1.0

Word = Annotated[str | None, Query(max_length=1000, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True)
class Asked:
    """Which page of a list is asked for."""

    limit: str | None = None
    cursor: str | None = None


AskedPage = Annotated[Asked, Depends()]


class ScalingPatch(BaseModel):
    """`{"scaling": {...}}`; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    scaling: ScalingChange


@routes.get("/admin/v1/algorithms")
async def list_algorithms(
    request: Request, who: Caller, session: Session, asked: AskedPage, *, owner: Word = None, q: Word = None
) -> dict[str, Any]:
    """Algorithms by owner and name: of one owner, or with a text in `OWNER/NAME`."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.text, pages.text)
    page = await algorithms.page(session, paging, who, owner=owner or None, search=q)
    address = links(request)
    return views.admin_listing(
        page, lambda row: views.algorithm(row, address, insider=access.insider(who, row.owner))
    )


@routes.get(ALGORITHM)
async def get_algorithm(request: Request, algorithm_id: UUID, who: Caller, session: Session) -> dict[str, Any]:
    row = await store.by_id(session, algorithm_id)
    access.check_insider(who, row.owner)
    newest = await versions.newest(session, row.id, insider=True)
    return views.algorithm(row, links(request), newest, insider=True)


@routes.patch(ALGORITHM)
async def scale_algorithm(
    request: Request, algorithm_id: UUID, asked: ScalingPatch, who: Caller, *, parts: Parts, session: Session
) -> dict[str, Any]:
    """Change how many replicas an algorithm has."""
    row = await store.by_id(session, algorithm_id)
    access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
    row = await parts.algorithms.scale(session, row.id, asked.scaling, who)
    newest = await versions.newest(session, row.id, insider=True)
    return views.algorithm(row, links(request), newest, insider=True)


@routes.get(BUILD)
async def get_build(build_id: UUID, who: Caller, session: Session) -> dict[str, Any]:
    return views.build_details(await _build(session, build_id, who))


@routes.get(f"{BUILD}/log")
async def get_build_log(
    request: Request,
    build_id: UUID,
    who: Caller,
    parts: Parts,
    *,
    offset: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT)] = 0.0,
) -> dict[str, Any]:
    """The log from character `offset` on, also of a build that runs: waits up to `wait` seconds for more."""
    with parts.signals.watch(build_id) as watch:
        while True:
            async with parts.database.transaction() as session:
                build = await _build(session, build_id, who)
                part = await build_logs.read(session, build_id, offset)
            finished = build.state in builds.FINAL and part.next_offset >= build.log_length
            if part.text or finished or wait <= 0 or await request.is_disconnected():
                break
            await watch.news(min(wait, _LOOK_EVERY))
            wait -= _LOOK_EVERY
    return {
        "build_id": str(build_id),
        "status": views.build_details(build)["status"],
        "offset": offset,
        "next_offset": part.next_offset,
        "text": part.text,
        "finished": finished,
        "reason": build.reason,
    }


@administrators.get("/admin/v1/calls")
async def list_calls(
    session: Session,
    asked: AskedPage,
    *,
    account: Word = None,
    algorithm_id: UUID | None = None,
    launch_id: UUID | None = None,
    errors: bool = False,
    since: AwareDatetime | None = None,
) -> dict[str, Any]:
    """Recent calls, newest first: of an account, of an algorithm, at a launch apart from the platform, those that
    failed, those since a moment."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.moment, pages.text)
    page = await calls.entries(
        session,
        paging,
        account=account or None,
        algorithm_id=algorithm_id,
        launch_id=launch_id,
        errors=errors,
        since=since,
    )
    return views.admin_listing(page, views.call)


@administrators.get("/admin/v1/audit")
async def list_audit(
    session: Session, asked: AskedPage, *, actor: Word = None, action: Word = None, subject: Word = None
) -> dict[str, Any]:
    """Administrative acts, newest first: of an actor, of a kind, on a subject."""
    paging = Paging.parse(asked.limit, asked.cursor, pages.number)
    page = await audit.entries(session, paging, actor=actor or None, action=action or None, subject=subject or None)
    return views.admin_listing(page, views.audit_entry)


async def _build(session: Session, build_id: UUID, who: Principal) -> Build:
    """Raises NotFound, also for those who do not belong to the owner."""
    build = await session.get(Build, build_id)
    try:
        if build is not None:
            access.check_insider(who, (await store.by_id(session, build.algorithm_id)).owner)
            return build
    except NoSuchAlgorithm:
        pass
    raise NotFound(f"there is no build {build_id}", code=builds.BUILD_CODE)
