"""Administrators' routes over apps that wait for a decision: by its code, or by the attempt's id."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, Field

from libs.common import idempotency, web
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.problems import Conflict
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx
from services.fakts.fields import Label, Plain
from services.fakts.models import Approval, User
from services.fakts.preflight import approvals, decisions, views
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.strategies.interface import Via

router = idempotency.router(admin_only, prefix="/admin/v1/codes")

Key = Annotated[str, Field(max_length=255), Plain]


class Approving(BaseModel):
    declined: list[Key] = Field(default=[], max_length=200)
    """Keys of optional requirements that the app is not given."""
    organization: Key | None = None
    """The app acts in it; the administrator is a member."""


class Denying(BaseModel):
    reason: Label = ""
    """In words for whoever runs the app."""


@router.get("")
async def list_codes(session: Session, asked: CursorPage) -> dict[str, Any]:
    """Apps that wait for a decision, oldest first. Their codes are kept as hashes, so each has an id."""
    found = await approvals.pending(session, after=asked.after_moment, limit=asked.one_more)
    items = [await _pending(session, one) for one in found]
    return cursored(asked, items, lambda i: [found[i].created_at, found[i].id])


@router.post("/{code}/approve")
async def approve(
    request: Request, code: str, session: Session, context: Ctx, caller: Caller, body: Approving | None = None
) -> Any:
    """Let the app in, acting for the caller. One that needs what is not offered is denied, and that is a conflict."""
    asked = body or Approving()
    approval = await decisions.approve(
        session,
        context,
        await _find(session, code),
        by=await session.get_one(User, caller.account_id),
        organization=asked.organization,
        declined=asked.declined,
    )
    if approval.state == Standing.DENIED:  # raised, the problem would undo that
        problem = Conflict(approval.reason)
        return request.app.state.render(request.url.path, problem, web.current_request_id())
    return await _decided(session, approval)


@router.post("/{code}/deny")
async def deny(
    code: str, session: Session, context: Ctx, caller: Caller, body: Denying | None = None
) -> dict[str, Any]:
    reason = (body or Denying()).reason
    approval = await _find(session, code)
    await decisions.deny(session, context, approval, by=await session.get_one(User, caller.account_id), reason=reason)
    return await _decided(session, approval)


async def _find(session: Session, code: str) -> Approval:
    """Raises Conflict for what a person decides in the browser that is waiting for it."""
    try:
        approval = await approvals.get(session, UUID(code))
    except ValueError:
        approval = await approvals.find(session, code)
    if approval.via == Via.REDIRECT:
        raise Conflict("whoever signs in decides on this in their own browser")
    return approval


async def _pending(session: Session, approval: Approval) -> dict[str, Any]:
    seen = await views.of_approval(session, approval)
    return {
        "id": str(approval.id),
        "via": approval.via,
        "identifier": seen.client.identifier,
        "version": seen.client.version,
        "device": seen.client.device,
        "scope": approval.scope,
        "address": approval.address,
        "rule": approval.rule,
        "needs": approval.needs,
        "organizations": approval.organizations,
        "requirements": [
            {"key": one.key, "service": one.service, "optional": one.optional, "offered": one.offered}
            for one in seen.requirements
        ],
        "created_at": approval.created_at.isoformat(),
        "expires_at": approval.expires_at.isoformat(),
    }


async def _decided(session: Session, approval: Approval) -> dict[str, Any]:
    client = await approvals.client_of(session, approval)
    return {
        "id": str(approval.id),
        "state": approval.state,
        "reason": approval.reason,
        "client_id": str(client.id),
        "identifier": client.identifier,
    }
