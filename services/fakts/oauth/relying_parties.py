"""Relying parties: clients that administrators register, and that people sign in to. Nothing here commits."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from sqlalchemy import Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import SERVICE_PREFIX, SERVICE_SCOPE, Manifest
from libs.common.directory import key_hash
from libs.common.problems import Invalid, NotFound
from services.fakts.models import Client
from services.fakts.oauth.clients import RELYING_PARTY

_RANDOM_BYTES = 32
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}")
_LEGAL = re.compile(r"[!-~]{1,2000}")
_UNSAFE = frozenset({"javascript", "data", "vbscript", "file", "blob", "about"})


@dataclass(frozen=True)
class NewParty:
    name: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    """The most that it may ask for."""
    confidential: bool
    client_credentials: bool
    """It may log in as itself."""


async def register(session: AsyncSession, new: NewParty) -> tuple[Client, str | None]:
    """A new client, and its secret if it is confidential, which nobody can show again. Raises Invalid."""
    _check(new)
    secret = secrets.token_urlsafe(_RANDOM_BYTES) if new.confidential else None
    scopes = tuple(dict.fromkeys(new.scopes))
    manifest = Manifest(identifier=new.name, version="1", scopes=scopes, requirements=())
    row = Client(
        id=uuid4(),
        identifier=new.name,
        device="",
        version=manifest.version,
        kind=RELYING_PARTY,
        scope=" ".join(scopes),
        manifest=manifest.model_dump(mode="json"),
        declined=[],
        redirect_uris=list(dict.fromkeys(new.redirect_uris)),
        post_logout_redirect_uris=list(dict.fromkeys(new.post_logout_redirect_uris)),
        client_credentials=new.client_credentials,
        secret_digest=key_hash(secret) if secret is not None else None,
        approved_at=db.now(),
    )
    session.add(row)
    await session.flush()
    return row, secret


async def page(session: AsyncSession, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Client]:
    """Those in force, oldest first."""
    query = _in_force().order_by(Client.created_at, Client.id).limit(limit)
    if after is not None:
        query = query.where(tuple_(Client.created_at, Client.id) > after)
    return (await session.scalars(query)).all()


async def find(session: AsyncSession, client_id: UUID) -> Client | None:
    return await session.scalar(_in_force().where(Client.id == client_id))


async def get(session: AsyncSession, client_id: UUID) -> Client:
    """Raises NotFound."""
    row = await find(session, client_id)
    if row is None:
        raise NotFound(f"there is no client {client_id}")
    return row


def check_redirect_uri(uri: str) -> None:
    """Raises Invalid for what is no redirect URI (RFC 6749, section 3.1.2; RFC 8252, section 7).

    A plain-HTTP one is for this machine alone, as codes would cross the network. Other schemes
    are for installed apps.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        raise _bad(uri, "is malformed") from None
    if not _LEGAL.fullmatch(uri) or not parts.scheme or parts.scheme in _UNSAFE:
        raise _bad(uri, "is no absolute URI that a browser may be sent to")
    if "#" in uri:
        raise _bad(uri, "must not have a fragment")
    if parts.scheme in ("http", "https") and (not host or parts.username is not None):
        raise _bad(uri, "needs a host, and no user name")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _bad(uri, "must be https, unless it is on localhost")


def _check(new: NewParty) -> None:
    if new.name.startswith(SERVICE_PREFIX):
        raise Invalid(f"names that start with '{SERVICE_PREFIX}' are for the platform's own services")
    for uri in (*new.redirect_uris, *new.post_logout_redirect_uris):
        check_redirect_uri(uri)
    for scope in new.scopes:
        if not _SCOPE.fullmatch(scope) or scope == SERVICE_SCOPE:
            raise Invalid(f"'{scope[:40]}' is no scope that a client may have")
    if new.client_credentials and not new.confidential:
        raise Invalid("client_credentials is for confidential clients: there is no secret to log in with")


def _in_force() -> Select[Client]:
    return select(Client).where(Client.kind == RELYING_PARTY, Client.ended_at.is_(None))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bad(uri: str, why: str) -> Invalid:
    return Invalid(f"redirect_uri '{uri[:100]}' {why}")
