"""Administrators' routes over redeem tokens."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field

from libs.common import idempotency
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.problems import Invalid
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx
from services.fakts.fields import Expiry, Label, Plain
from services.fakts.identity import accounts, organizations
from services.fakts.models import RedeemToken
from services.fakts.preflight import eligibility, redeem_tokens
from services.fakts.preflight.redeem_tokens import NewRedeemToken

router = idempotency.router(admin_only, prefix="/admin/v1/redeem-tokens")

Word = Annotated[str, Field(min_length=1, max_length=255), Plain]


class RedeemTokenBody(BaseModel):
    """Everything has a default: an empty body makes a token for one app, whichever comes first, that acts for the
    caller."""

    account: Word | None = None
    """Whom the apps act for."""
    organization: Word | None = None
    """In which they act; the account is a member."""
    identifiers: list[Word] = Field(default=["*"], min_length=1, max_length=32)
    versions: list[Word] = Field(default=["*"], min_length=1, max_length=32)
    scopes: list[Word] | None = Field(default=None, max_length=100)
    """The most that they are given. Null: whatever they ask."""
    uses: int | None = Field(default=1, ge=1, le=1_000_000)
    """How many different apps or machines it lets in. One that comes back is not counted again. Null: any number."""
    note: Label = ""
    expires_at: Expiry | None = None


@router.get("")
async def list_redeem_tokens(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await redeem_tokens.page(session, after=asked.after_moment, limit=asked.one_more)
    items = [_rendered(row, name) | {"used": used} for row, name, used in found]
    return cursored(asked, items, lambda i: [found[i][0].created_at, found[i][0].id])


@router.post("", status_code=201)
async def create_redeem_token(
    session: Session, context: Ctx, caller: Caller, body: RedeemTokenBody | None = None
) -> dict[str, Any]:
    """Make a token with which apps that nobody watches are let in (protocol 1). Nothing shows it again."""
    asked = body or RedeemTokenBody()
    user = await accounts.get(session, asked.account or caller.name)
    organization = await organizations.get(session, asked.organization) if asked.organization is not None else None
    if organization is not None and await eligibility.role_of(session, organization, user) is None:
        raise Invalid(f"'{user.name}' is no member of '{organization.name}'")
    new = NewRedeemToken(
        account=user,
        organization=organization,
        identifiers=tuple(asked.identifiers),
        versions=tuple(asked.versions),
        scopes=tuple(asked.scopes) if asked.scopes is not None else None,
        uses=asked.uses,
        note=asked.note,
        expires_at=asked.expires_at,
    )
    row, token = await redeem_tokens.create(session, new, by=caller.name)
    detail = f"{', '.join(row.identifiers)} for {user.name}"
    await context.audit.record(
        session, actor=caller.name, action="redeem_token.create", subject=str(row.id), detail=detail
    )
    return {**_rendered(row, user.name), "used": 0, "token": token}


@router.delete("/{token_id}", status_code=204)
async def revoke_redeem_token(token_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await redeem_tokens.revoke(session, token_id)
    await context.audit.record(session, actor=caller.name, action="redeem_token.revoke", subject=str(token_id))
    return Response(status_code=204)


def _rendered(row: RedeemToken, account: str) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "account": account,
        "organization_id": str(row.organization_id) if row.organization_id else None,
        "identifiers": row.identifiers,
        "versions": row.versions,
        "scopes": row.scopes,
        "uses": row.uses,
        "note": row.note,
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }
