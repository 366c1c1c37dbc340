"""Invitations to organizations: of administrators, of owners, and their acceptance."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Response
from pydantic import BaseModel, Field

from libs.common import idempotency
from libs.common.auth import Caller, admin_only, manager_only
from libs.common.contracts.identity import Principal, Role
from libs.common.db import Session
from libs.common.problems import Forbidden, NotFound
from services.fakts import locks
from services.fakts.api.organizations import governed
from services.fakts.api.paging import Asked, MarkedPage, marked
from services.fakts.context import Context, Ctx
from services.fakts.fields import Expiry, Plain
from services.fakts.identity import accounts, invitations, organizations
from services.fakts.models import Invitation, Organization, User

administration = idempotency.router(admin_only, prefix="/v1/admin/invites")
members = idempotency.router(manager_only)

Token = Annotated[str, Path(max_length=100)]


class InviteBody(BaseModel):
    role: Role = Role.MEMBER
    note: Annotated[str, Field(max_length=200), Plain] = ""
    """For those who look at the list: whom it is for."""
    expires_at: Expiry | None = None
    """None for a week from now."""


class AdminInviteBody(InviteBody):
    organization: str


@administration.get("")
async def list_all(session: Session, asked: MarkedPage) -> dict[str, Any]:
    return await _list(session, None, asked)


@administration.post("", status_code=201)
async def invite_to_any(body: AdminInviteBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Invite to any organization. The answer holds the token, and nothing shows it again."""
    await locks.take(session, locks.IDENTITY)
    return await _invite(session, context, caller, await organizations.get(session, body.organization), body)


@administration.delete("/{invitation_id}", status_code=204)
async def revoke_any(invitation_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    return await _revoke(session, context, caller, None, invitation_id)


@members.get("/v1/organizations/{name}/invites")
async def list_own(name: str, session: Session, asked: MarkedPage, caller: Caller) -> dict[str, Any]:
    return await _list(session, await governed(name, session, caller), asked)


@members.post("/v1/organizations/{name}/invites", status_code=201)
async def invite(name: str, body: InviteBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    return await _invite(session, context, caller, await governed(name, session, caller), body)


@members.delete("/v1/organizations/{name}/invites/{invitation_id}", status_code=204)
async def revoke(name: str, invitation_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    return await _revoke(session, context, caller, await governed(name, session, caller), invitation_id)


@members.get("/v1/invites/{token}")
async def show(token: Token, session: Session) -> dict[str, Any]:
    """What accepting would bring."""
    row, organization = await invitations.find(session, token)
    return render(row, organization.name)


@members.post("/v1/invites/{token}/accept")
async def accept(token: Token, session: Session, context: Ctx, caller: Caller) -> dict[str, str]:
    await locks.take(session, locks.IDENTITY)
    user = await session.get(User, caller.account_id)
    if user is None:
        raise Forbidden("an organization joins no organization; accept it as a user")
    organization, role = await invitations.accept(session, context.feed, token, user)
    subject = f"{organization.name}/{user.name}"
    await context.audit.record(session, actor=caller.name, action="invite.accept", subject=subject, detail=role)
    return {"org_name": organization.name, "role": role}


@members.post("/v1/organizations/{name}/members/{user}/accept", status_code=204)
async def accept_membership(name: str, user: str, session: Session, context: Ctx, caller: Caller) -> Response:
    """Who was put among the members as `invited` becomes a `member`. Nobody accepts for another."""
    await locks.take(session, locks.IDENTITY)
    organization = await organizations.get(session, name)
    found = await accounts.find(session, user)
    own = found if found is not None and found.id == caller.account_id else None
    if own is None or not await organizations.accept_membership(session, context.feed, organization, own):
        raise NotFound(f"there is no organization '{name}'", code=organizations.NOT_FOUND)
    subject = f"{organization.name}/{own.name}"
    await context.audit.record(session, actor=caller.name, action="invite.accept", subject=subject)
    return Response(status_code=204)


def render(row: Invitation, organization: str) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "org_name": organization,
        "role": row.role,
        "note": row.note,
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "resource_type": "invitation",
    }


async def _list(session: Session, organization: Organization | None, asked: Asked) -> dict[str, Any]:
    found = await invitations.page(session, organization, after=asked.after_moment, limit=asked.one_more)
    items = [render(row, name) for row, name in found]
    return marked(asked, items, lambda i: [found[i][0].created_at, found[i][0].id])


async def _invite(
    session: Session, context: Context, caller: Principal, organization: Organization, body: InviteBody
) -> dict[str, Any]:
    by = await session.get_one(User, caller.account_id)
    row, token = await invitations.create(
        session, organization, body.role, by=by, note=body.note, expires_at=body.expires_at
    )
    subject = f"{organization.name}/{row.id}"
    await context.audit.record(session, actor=caller.name, action="invite.create", subject=subject, detail=row.role)
    return {**render(row, organization.name), "token": token}


async def _revoke(
    session: Session, context: Context, caller: Principal, organization: Organization | None, invitation_id: UUID
) -> Response:
    row = await invitations.revoke(session, invitation_id, organization)
    await context.audit.record(session, actor=caller.name, action="invite.revoke", subject=str(row.id))
    return Response(status_code=204)
