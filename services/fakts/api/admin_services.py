"""Administrators' routes over services and mandates: what may join, and what is offered besides."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common import db, idempotency
from libs.common.auth import Caller, admin_only
from libs.common.contracts.joining import SERVICE_PREFIX, Alias
from libs.common.db import Session
from libs.common.problems import Invalid
from services.fakts import locks
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx
from services.fakts.fields import Expiry, Label, Plain
from services.fakts.models import Instance, Mandate
from services.fakts.oauth import logins
from services.fakts.preflight import instances, mandates
from services.fakts.preflight.mandates import NewMandate

router = idempotency.router(admin_only, prefix="/admin/v1")

_KEY_BYTES = 32


def _public_key(text: str) -> str:
    try:
        if len(base64.b64decode(text, validate=True)) == _KEY_BYTES:
            return text
    except ValueError:
        pass
    raise ValueError(f"must be base64 of {_KEY_BYTES} bytes")


Word = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\s]+$"), Plain]
AliasPath = Annotated[str, Field(max_length=1000, pattern=r"^[^?#\s]*$"), Plain]


class AliasBody(BaseModel):
    id: Word
    host: Annotated[str, Field(max_length=255, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)$")]
    port: int | None = Field(default=None, ge=1, le=65535)
    ssl: bool = False
    path: AliasPath | None = None
    challenge: AliasPath = "healthz"
    reach: Literal["loopback", "internal", "lan", "public"] | None = None


class ChallengeKey(BaseModel):
    kind: Literal["ed25519"]
    key: Annotated[str, AfterValidator(_public_key)]


class ServiceBody(BaseModel):
    service: Word
    instance: Word
    aliases: list[AliasBody] = Field(min_length=1, max_length=32)
    challenge_key: ChallengeKey | None = None


class MandateBody(BaseModel):
    """Everything has a default: an empty body makes a key for any app."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["service", "app"] = "app"
    identifiers: list[Word] = Field(default=["*"], min_length=1, max_length=32)
    expires_at: Expiry | None = None
    uses: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many different clients may log in with it. One that comes back is not counted again."""
    note: Label = ""


@router.get("/services")
async def list_services(session: Session, asked: CursorPage) -> dict[str, Any]:
    """All instances: the platform's own, with their leases, and those that administrators offer."""
    found = await instances.page(session, after=asked.after_number, limit=asked.one_more)
    return cursored(asked, [_instance(one) for one in found], lambda i: [found[i].number])


@router.post("/services", status_code=201)
async def offer_service(body: ServiceBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Offer a service that the platform does not run. The same instance again replaces what was said of it."""
    if body.service.startswith(SERVICE_PREFIX):
        raise Invalid(f"names that start with '{SERVICE_PREFIX}' are for the platform's own services")
    aliases = [Alias.model_validate(alias.model_dump()) for alias in body.aliases]
    key = body.challenge_key.model_dump() if body.challenge_key else None
    await instances.offer_external(session, body.service, body.instance, aliases, key)
    subject = f"{body.service}/{body.instance}"
    await context.audit.record(session, actor=caller.name, action="service.offer", subject=subject)
    return body.model_dump(mode="json")


@router.delete("/services/{service}/{instance}", status_code=204)
async def withdraw_service(service: str, instance: str, session: Session, context: Ctx, caller: Caller) -> Response:
    await instances.withdraw_external(session, service, instance)
    subject = f"{service}/{instance}"
    await context.audit.record(session, actor=caller.name, action="service.withdraw", subject=subject)
    return Response(status_code=204)


@router.get("/mandates")
async def list_mandates(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await mandates.page(session, after=asked.after_moment, limit=asked.one_more)
    return cursored(asked, [_mandate(row) for row in found], lambda i: [found[i].created_at, found[i].id])


@router.post("/mandates", status_code=201)
async def create_mandate(
    session: Session, context: Ctx, caller: Caller, body: MandateBody | None = None
) -> dict[str, Any]:
    """Make a key with which services or apps log in without a person. Nothing shows it again."""
    asked = body or MandateBody()
    new = NewMandate(
        kind=asked.kind,
        identifiers=tuple(asked.identifiers),
        expires_at=asked.expires_at,
        max_clients=asked.uses,
        note=asked.note,
    )
    row, key = await mandates.create(session, new, by=caller.name)
    detail = f"{row.kind}: {', '.join(row.identifiers)}"
    await context.audit.record(
        session, actor=caller.name, action="mandate.create", subject=str(row.id), detail=detail
    )
    return {**_mandate(row), "key": key}


@router.delete("/mandates/{mandate_id}", status_code=204)
async def revoke_mandate(mandate_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.JOINING)
    row = await mandates.get(session, mandate_id)
    await mandates.revoke(session, row)
    await logins.end_of_mandate(session, context, row.id)
    await context.audit.record(session, actor=caller.name, action="mandate.revoke", subject=str(mandate_id))
    return Response(status_code=204)


def _instance(row: Instance) -> dict[str, Any]:
    return {
        "service": row.service,
        "instance": row.name,
        "external": row.external,
        "version": row.version,
        "aliases": row.aliases,
        "challenge_key": row.challenge_key,
        "offered_at": row.offered_at.isoformat(),
        "lease_until": row.lease_until.isoformat() if row.lease_until else None,
        "live": row.lease_until is None or row.lease_until > db.now(),
    }


def _mandate(row: Mandate) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "kind": row.kind,
        "identifiers": row.identifiers,
        "uses": row.max_clients,
        "note": row.note,
        "created_at": row.created_at.isoformat(),
        "created_by": row.created_by,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }
