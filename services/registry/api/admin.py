"""Routes below /admin/v1. Audit and calls are for administrators; algorithms and builds also for those who belong to
their owner, each seeing their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from libs.common import web
from libs.common.auth import Caller, account_only, admin_only
from libs.common.contracts.identity import Principal
from libs.common.db import Session
from libs.common.problems import Invalid, NotFound
from services.registry import access, algorithms, audit, build_logs, builds, calls, pages, store, versions, views
from services.registry.access import NoSuchAlgorithm
from services.registry.algorithm_settings import ScalingChange
from services.registry.api.requests import Parts, body, flag, links, paging
from services.registry.models import Build

routes = web.router(account_only)
administrators = web.router(admin_only)

ALGORITHM = "/admin/v1/algorithms/{algorithm_id:uuid}"
BUILD = "/admin/v1/builds/{build_id:uuid}"
MAX_WAIT = 25.0


class ScalingPatch(BaseModel):
    """`{"scaling": {...}}`; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    scaling: ScalingChange


@routes.get("/admin/v1/algorithms")
async def list_algorithms(request: Request, who: Caller, session: Session) -> dict[str, Any]:
    """Algorithms by owner and name; `owner` and `q` choose among them."""
    query = request.query_params
    asked = paging(request, pages.text, pages.text, marker="cursor")
    page = await algorithms.page(session, asked, who, owner=_text(query.get("owner")), search=_text(query.get("q")))
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
    request: Request, algorithm_id: UUID, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    """Change how many replicas an algorithm has."""
    row = await store.by_id(session, algorithm_id)
    access.check_manages(who, row.owner, known=await store.is_public(session, row.id))
    asked = await body(request, ScalingPatch)
    row = await parts.algorithms.scale(session, row.id, asked.scaling, who)
    newest = await versions.newest(session, row.id, insider=True)
    return views.algorithm(row, links(request), newest, insider=True)


@routes.get(BUILD)
async def get_build(build_id: UUID, who: Caller, session: Session) -> dict[str, Any]:
    return views.build_details(await _build(session, build_id, who))


@routes.get(f"{BUILD}/log")
async def get_build_log(request: Request, build_id: UUID, who: Caller, parts: Parts) -> dict[str, Any]:
    """The log from `offset` on, also of a build that runs. With `wait` (seconds) the answer waits for more."""
    offset = int(_number(request, "offset", 0, 1 << 40))
    wait = _number(request, "wait", 0, MAX_WAIT)
    with parts.signals.watch(build_id) as watch:
        while True:
            async with parts.database.transaction() as session:
                build = await _build(session, build_id, who)
                part = await build_logs.read(session, build_id, offset)
            finished = build.state in builds.FINAL and part.next_offset >= build.log_length
            if part.text or finished or wait <= 0 or await request.is_disconnected():
                break
            await watch.news(min(wait, 1.0))
            wait -= 1.0
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
async def list_calls(request: Request, session: Session) -> dict[str, Any]:
    """Recent calls, newest first; `account`, `algorithm_id`, `errors` and `since` choose among them."""
    query = request.query_params
    page = await calls.entries(
        session,
        paging(request, _moment, pages.text, marker="cursor"),
        account=_text(query.get("account")),
        algorithm_id=_uuid(query.get("algorithm_id")),
        errors=bool(flag(request, "errors")),
        since=_since(query.get("since")),
    )
    return views.admin_listing(page, views.call)


@administrators.get("/admin/v1/audit")
async def list_audit(request: Request, session: Session) -> dict[str, Any]:
    """Administrative acts, newest first; `actor`, `action` and `subject` choose among them."""
    query = request.query_params
    page = await audit.entries(
        session,
        paging(request, pages.number, marker="cursor"),
        actor=_text(query.get("actor")),
        action=_text(query.get("action")),
        subject=_text(query.get("subject")),
    )
    return views.admin_listing(page, views.audit_entry)


async def _build(session: Session, build_id: UUID, who: Principal) -> Build:
    """Raises NotFound, also for those who do not belong to the owner."""
    build = await session.get(Build, build_id)
    if build is None:
        raise NotFound(f"there is no build {build_id}", code=builds.BUILD_CODE)
    try:
        access.check_insider(who, (await store.by_id(session, build.algorithm_id)).owner)
    except NoSuchAlgorithm:
        raise NotFound(f"there is no build {build_id}", code=builds.BUILD_CODE) from None
    return build


def _number(request: Request, name: str, least: float, most: float) -> float:
    text = request.query_params.get(name) or "0"
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise Invalid(f"'{name}' must be a number from {least:g} to {most:g}")
    return number


def _text(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise Invalid("text must not contain NUL characters")
    return value or None


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Invalid(f"'{text}' is no id") from None


def _since(text: str | None) -> datetime | None:
    try:
        return _moment(text) if text else None
    except ValueError:
        raise Invalid("'since' must be a moment such as 2026-01-31T12:00:00Z") from None


def _moment(text: Any) -> datetime:
    """Raises ValueError. Without an offset UTC is meant."""
    found = datetime.fromisoformat(str(text))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
