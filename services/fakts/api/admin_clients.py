"""Administrators' routes over apps that were let in, and relying parties that they register."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from libs.common import idempotency
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from services.fakts.api.paging import CursorPage, cursored
from services.fakts.context import Ctx
from services.fakts.fields import Plain
from services.fakts.models import Client
from services.fakts.oauth import clients, logins, relying_parties
from services.fakts.oauth.clients import App
from services.fakts.oauth.relying_parties import NewParty

router = idempotency.router(admin_only, prefix="/admin/v1")

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/]+$"), Plain]
Text = Annotated[str, Field(max_length=2000), Plain]


class ClientBody(BaseModel):
    name: Name
    """What people read when they are asked."""
    redirect_uris: list[Text] = Field(default=[], max_length=32)
    post_logout_redirect_uris: list[Text] = Field(default=[], max_length=32)
    scopes: list[Text] = Field(default=["openid", "profile", "email", "offline_access"], max_length=64)
    """The most that it may ask for."""
    confidential: bool = True
    """It can keep a secret: it runs on a server, not in a browser or on people's machines."""
    client_credentials: bool = False
    """It may log in as itself, without a person."""


@router.get("/clients")
async def list_clients(session: Session, asked: CursorPage) -> dict[str, Any]:
    found = await relying_parties.page(session, after=asked.after_moment, limit=asked.one_more)
    return cursored(asked, [_client(row) for row in found], lambda i: [found[i].created_at, found[i].id])


@router.post("/clients", status_code=201)
async def register_client(body: ClientBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Register a client of OAuth or OpenID Connect. The answer holds its secret, and nothing shows it again."""
    new = NewParty(
        name=body.name,
        redirect_uris=tuple(body.redirect_uris),
        post_logout_redirect_uris=tuple(body.post_logout_redirect_uris),
        scopes=tuple(body.scopes),
        confidential=body.confidential,
        client_credentials=body.client_credentials,
    )
    row, secret = await relying_parties.register(session, new)
    await context.audit.record(
        session, actor=caller.name, action="client.register", subject=row.identifier, detail=f"client {row.id}"
    )
    return {**_client(row), "client_secret": secret}


@router.get("/clients/{client_id}")
async def show_client(client_id: UUID, session: Session) -> dict[str, Any]:
    return _client(await relying_parties.get(session, client_id))


@router.delete("/clients/{client_id}", status_code=204)
async def remove_client(client_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    """Nobody signs in to it any more, and everybody who did is signed out there."""
    row = await relying_parties.find(session, client_id)
    if row is not None:
        await logins.end_client(session, context, row)
        await context.audit.record(
            session, actor=caller.name, action="client.remove", subject=row.identifier, detail=f"client {row.id}"
        )
    return Response(status_code=204)


@router.get("/apps")
async def list_apps(
    session: Session, asked: CursorPage, q: Annotated[str, Query(max_length=255), Plain] = ""
) -> dict[str, Any]:
    """Apps that were let in, the revoked among them; `q` is a part of an app's or an account's name."""
    found = await clients.page(session, search=q, after=asked.after_moment, limit=asked.one_more)
    return cursored(asked, [_app(one) for one in found], lambda i: [found[i].client.created_at, found[i].client.id])


@router.delete("/apps/{client_id}", status_code=204)
async def revoke_app(client_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    """The app is logged in nowhere any more, and never logs in again. Another approval makes another client."""
    row = await clients.find_app(session, client_id)
    if row is not None and row.ended_at is None:
        await logins.end_client(session, context, row)
        await context.audit.record(
            session, actor=caller.name, action="app.revoke", subject=row.identifier, detail=f"client {row.id}"
        )
    return Response(status_code=204)


def _client(row: Client) -> dict[str, Any]:
    return {
        "client_id": str(row.id),
        "name": row.identifier,
        "redirect_uris": row.redirect_uris,
        "post_logout_redirect_uris": row.post_logout_redirect_uris,
        "scopes": row.scope.split(),
        "confidential": row.secret_digest is not None,
        "client_credentials": row.client_credentials,
        "created_at": row.created_at.isoformat(),
        "last_login_at": row.last_login_at.isoformat() if row.last_login_at else None,
    }


def _app(one: App) -> dict[str, Any]:
    row = one.client
    return {
        "id": str(row.id),
        "identifier": row.identifier,
        "version": row.version,
        "device": row.device or None,
        "kind": row.kind,
        "scopes": row.scope.split(),
        "account": one.account,
        "organization": one.organization,
        "state": "revoked" if row.ended_at is not None else "approved",
        "approved_at": row.approved_at.isoformat() if row.approved_at else None,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "last_login_at": row.last_login_at.isoformat() if row.last_login_at else None,
        "report": row.report,
        "reported_at": row.reported_at.isoformat() if row.reported_at else None,
    }
