"""Administrators' routes over accounts, API keys and signing keys."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field, SecretStr

from libs.common import idempotency
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.problems import NotFound
from services.fakts import locks
from services.fakts.api.keys import KeyChangeBody, KeyLabel, LegalPermissions, render
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx
from services.fakts.fields import Expiry
from services.fakts.identity import accounts, api_keys, browser_sessions, organizations
from services.fakts.identity.api_keys import NewKey
from services.fakts.models import Account, Organization, User
from services.fakts.oauth import console

router = idempotency.router(admin_only, prefix="/admin/v1")


class UserChange(BaseModel):
    """Members that are left out stay as they are."""

    staff: bool | None = None
    session_limit: int | None = Field(default=None, ge=1, le=100_000)
    password: SecretStr | None = None


class NewKeyBody(BaseModel):
    owner: str
    label: KeyLabel
    admin: bool = False
    permissions: LegalPermissions = api_keys.NO_PERMISSIONS
    expires_at: Expiry | None = None


@router.get("/users")
async def list_users(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await accounts.page(session, after=asked.after_name, limit=asked.one_more)
    return cursored(asked, [_user(user) for user in found], lambda i: [found[i].name])


@router.patch("/users/{name}")
async def change_user(name: str, body: UserChange, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Make a user an administrator or end that, limit its calls under way, or set its password."""
    hashed = await context.passwords.hash(body.password.get_secret_value()) if body.password else None
    await locks.take(session, locks.IDENTITY)
    user = await accounts.get(session, name)
    if hashed is not None:
        user.password_hash = hashed
        await browser_sessions.end_all(session, user)
        await console.end_logins(session, context, user)
    if body.session_limit is not None:
        await accounts.set_session_limit(session, context.feed, user, body.session_limit)
    if body.staff is not None:
        await accounts.set_staff(session, context.feed, user, body.staff)
    changed = ", ".join(sorted(body.model_fields_set))
    await context.audit.record(session, actor=caller.name, action="user.change", subject=user.name, detail=changed)
    return _user(user)


@router.get("/organizations")
async def list_organizations(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await organizations.page(session, after=asked.after_name, limit=asked.one_more)
    return cursored(asked, [_organization(one) for one in found], lambda i: [found[i].name])


@router.get("/keys")
async def list_keys(
    session: Session, asked: CursorPage, owner: Annotated[str | None, Query()] = None
) -> dict[str, Any]:
    """Keys in force: all, or those of one account."""
    account = await _account(session, owner) if owner is not None else None
    found = await api_keys.page(session, account, after=asked.after_moment, limit=asked.one_more)
    items = [render(row, name) for row, name in found]
    return cursored(asked, items, lambda i: [found[i][0].created_at, found[i][0].id])


@router.post("/keys", status_code=201)
async def create_key(body: NewKeyBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Make a key for any account. The answer holds it, and nothing shows it again."""
    await locks.take(session, locks.IDENTITY)
    owner = await _account(session, body.owner)
    new = NewKey(label=body.label, admin=body.admin, permissions=body.permissions, expires_at=body.expires_at)
    row, raw = await api_keys.create(session, context.feed, owner, new, within=caller)
    subject = f"{owner.name}/{row.label}/{row.id}"
    await context.audit.record(session, actor=caller.name, action="key.create", subject=subject)
    return {**render(row, owner.name, raw), "key": raw}


@router.patch("/keys/{key_id}")
async def change_key(
    key_id: UUID, body: KeyChangeBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    row, owner = await api_keys.get(session, key_id)
    await api_keys.change(session, context.feed, row, owner, body.change(), within=caller)
    subject = f"{owner.name}/{row.label}/{row.id}"
    await context.audit.record(session, actor=caller.name, action="key.change", subject=subject)
    return render(row, owner.name)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    row, owner = await api_keys.get(session, key_id)
    await api_keys.end(session, context.feed, row, owner)
    subject = f"{owner.name}/{row.label}/{row.id}"
    await context.audit.record(session, actor=caller.name, action="key.revoke", subject=subject)
    return Response(status_code=204)


@router.post("/signing-keys/rotate", status_code=202)
async def rotate_signing_key(session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Publish the next signing key now; it signs from `signs_from` on. While one waits for that, it is the answer."""
    row = await context.keys.rotate(session)
    await context.audit.record(session, actor=caller.name, action="signing_key.rotate", subject=row.kid)
    return {"kid": row.kid, "created_at": row.created_at.isoformat(), "signs_from": row.signs_from.isoformat()}


async def _account(session: Session, name: str) -> Account:
    user = await accounts.find(session, name)
    if user is not None:
        return user
    try:
        return await organizations.get(session, name)
    except NotFound:
        raise NotFound(f"there is no user or organization '{name}'") from None


def _user(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "name": user.name,
        "email": user.email,
        "fullname": user.fullname,
        "staff": user.staff,
        "session_limit": user.session_limit,
        "has_password": user.password_hash is not None,
        "created_at": user.created_at.isoformat(),
    }


def _organization(organization: Organization) -> dict[str, Any]:
    return {
        "id": str(organization.id),
        "name": organization.name,
        "label": organization.label,
        "email": organization.email,
        "type_id": str(organization.type_id),
        "external_id": organization.external_id,
        "session_limit": organization.session_limit,
        "created_at": organization.created_at.isoformat(),
    }
