"""`/admin/v1/issuers`: providers whose own tokens the platform accepts."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Response
from pydantic import AfterValidator, BaseModel, Field

from libs.common import idempotency
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from libs.common.problems import Invalid
from services.fakts import locks
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx, RequestOrigin
from services.fakts.fields import Plain
from services.fakts.identity import accounts, issuers, upstream
from services.fakts.identity.issuers import NewIssuer
from services.fakts.models import TrustedIssuer
from services.fakts.outgoing import FetchFailed

router = idempotency.router(admin_only, prefix="/admin/v1/issuers")


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("an address starts with https:// (or http://, for one inside of your network) and a host")
    return text


Address = Annotated[str, Field(max_length=255), Plain, AfterValidator(_address)]
Word = Annotated[str, Field(min_length=1, max_length=255), Plain]


class IssuerBody(BaseModel):
    issuer: Address
    audience: Word
    jwks_uri: Address | None = None
    """None for what the issuer's metadata says."""
    username_claim: Annotated[str, Field(min_length=1, max_length=100), Plain] = "preferred_username"


class BindingBody(BaseModel):
    subject: Word
    username: str


@router.get("")
async def listing(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await issuers.page(session, after=asked.after_name, limit=asked.one_more)
    return cursored(asked, [render(row) for row in found], lambda i: [found[i].issuer])


@router.post("", status_code=201)
async def create(
    body: IssuerBody, session: Session, context: Ctx, origin: RequestOrigin, caller: Caller
) -> dict[str, Any]:
    """Trust an issuer whose keys can be fetched now."""
    if body.issuer.rstrip("/") == context.issuer(origin):
        raise Invalid("this is the platform's own issuer; its tokens are accepted anyway")
    new = NewIssuer(**body.model_dump())
    try:
        await context.foreign.check(new)
    except FetchFailed as error:
        raise Invalid(f"the issuer's keys cannot be fetched: {error}") from None
    await locks.take(session, locks.IDENTITY)
    row = await issuers.create(session, context.feed, new, by=caller.name)
    await context.audit.record(session, actor=caller.name, action="issuer.create", subject=row.issuer)
    return render(row)


@router.delete("/{issuer_id}", status_code=204)
async def remove(issuer_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    row = await issuers.get(session, issuer_id)
    await issuers.remove(session, context.feed, row)
    await context.audit.record(session, actor=caller.name, action="issuer.remove", subject=row.issuer)
    return Response(status_code=204)


@router.post("/{issuer_id}/users", status_code=201)
async def bind(issuer_id: UUID, body: BindingBody, session: Session, context: Ctx, caller: Caller) -> dict[str, str]:
    """Say which user of the platform the issuer means by a subject, for users who were here before it was trusted.

    Tokens that were used already act for whom they did until they expire.
    """
    await locks.take(session, locks.IDENTITY)
    row = await issuers.get(session, issuer_id)
    user = await accounts.get(session, body.username)
    await upstream.bind(session, row.issuer, body.subject, user)
    subject = f"{row.issuer} {body.subject}"
    await context.audit.record(session, actor=caller.name, action="issuer.bind", subject=subject, detail=user.name)
    return {"issuer": row.issuer, "subject": body.subject, "username": user.name}


def render(row: TrustedIssuer) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "issuer": row.issuer,
        "audience": row.audience,
        "jwks_uri": row.jwks_uri,
        "username_claim": row.username_claim,
        "created_by": row.created_by,
        "created_at": row.created_at.isoformat(),
    }
