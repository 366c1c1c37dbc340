"""Redeem tokens: an administrator approves an app beforehand, once or a number of times, and nobody watches it start.

Only the hash of a token is kept. Nothing here commits.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import SERVICE_PREFIX, Manifest
from libs.common.directory import key_hash
from libs.common.problems import Forbidden, Invalid, NotFound
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.models import Client, Organization, RedeemToken, User
from services.fakts.preflight import admission, eligibility, manifests, patterns
from services.fakts.where import Where

_RANDOM_BYTES = 32


@dataclass(frozen=True)
class NewRedeemToken:
    account: User
    """Whom its clients act for."""
    organization: Organization | None = None
    identifiers: tuple[str, ...] = ("*",)
    """Patterns of the apps that it lets in."""
    versions: tuple[str, ...] = ("*",)
    scopes: tuple[str, ...] | None = None
    """The most that its clients are given; None for whatever they ask."""
    uses: int | None = 1
    """How many different clients it lets in; None for any number."""
    note: str = ""
    expires_at: datetime | None = None


async def create(session: AsyncSession, new: NewRedeemToken, *, by: str) -> tuple[RedeemToken, str]:
    """Make a token; returns its row and itself, which nobody can show again. Raises Invalid for a bad pattern."""
    for pattern in (*new.identifiers, *new.versions):
        try:
            patterns.check(pattern)
        except ValueError as error:
            raise Invalid(str(error)) from None
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    row = RedeemToken(
        digest=key_hash(token),
        account_id=new.account.id,
        organization_id=new.organization.id if new.organization is not None else None,
        identifiers=list(new.identifiers),
        versions=list(new.versions),
        scopes=list(new.scopes) if new.scopes is not None else None,
        uses=new.uses,
        note=new.note,
        created_by=by,
        expires_at=new.expires_at,
    )
    session.add(row)
    await session.flush()
    return row, token


async def revoke(session: AsyncSession, token_id: UUID) -> None:
    """It lets nobody in any more. Who was let in stays, and is revoked as other apps are. Idempotent.

    Raises NotFound.
    """
    row = await session.get(RedeemToken, token_id)
    if row is None:
        raise NotFound(f"there is no redeem token {token_id}")
    row.revoked_at = row.revoked_at or db.now()


async def page(
    session: AsyncSession, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[tuple[RedeemToken, str, int]]:
    """Tokens, oldest first, each with whom its clients act for, and how many it let in."""
    used = select(func.count()).where(Client.redeem_token_id == RedeemToken.id).correlate(RedeemToken)
    query = (
        select(RedeemToken, User.name, used.scalar_subquery())
        .join(User, User.id == RedeemToken.account_id)
        .order_by(RedeemToken.created_at, RedeemToken.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(RedeemToken.created_at, RedeemToken.id) > after)
    return [(row, name, count) for row, name, count in (await session.execute(query)).all()]


async def redeem(session: AsyncSession, context: Context, token: str, manifest: Manifest, where: Where) -> Client:
    """The client that the token lets in. The same manifest again is the same client, and uses nothing up.

    Raises:
        Forbidden: the token is unknown or over, or not for this app; whom its clients act for is not here any more;
            or the client was revoked.
        Conflict: a required service is not offered.
        TooMany: this address guessed too often.
    """
    context.guesses.check(where.address)
    row = await session.scalar(select(RedeemToken).where(RedeemToken.digest == key_hash(token)))
    if row is None:
        context.guesses.count(where.address)
        raise Forbidden("Invalid redeem token.")
    _check_in_force(row, manifest)
    await locks.take(session, locks.JOINING)  # by a token that was issued: whoever guesses keeps up nobody
    await session.refresh(row)
    _check_in_force(row, manifest)
    user, organization = await _whom(session, row)
    client = await session.scalar(
        select(Client).where(
            Client.redeem_token_id == row.id,
            Client.identifier == manifest.identifier,
            Client.manifest == manifest.model_dump(mode="json"),
        )
    )
    if client is not None:
        if client.ended_at is not None:
            raise Forbidden("This app was revoked.")
        await admission.check_offered(session, client, where.address)
        return client
    used = await session.scalar(select(func.count()).where(Client.redeem_token_id == row.id))
    if row.uses is not None and (used or 0) >= row.uses:
        raise Forbidden(f"This redeem token was used by as many apps as it may ({row.uses}).")
    client = admission.new_client(manifest, _scope(manifest, row.scopes), "development")
    client.redeem_token_id = row.id
    admission.give_secrets(context, client)
    session.add(client)
    await admission.check_offered(session, client, where.address)
    admission.let_in(client, user, organization)
    await context.audit.record(
        session,
        actor=user.name,
        action="app.redeem",
        subject=client.identifier,
        detail=f"client {client.id} with redeem token {row.id}",
    )
    return client


def _check_in_force(row: RedeemToken, manifest: Manifest) -> None:
    if row.revoked_at is not None:
        raise Forbidden("This redeem token was revoked.")
    if row.expires_at is not None and row.expires_at <= db.now():
        raise Forbidden("This redeem token has expired.")
    if (
        manifest.identifier.startswith(SERVICE_PREFIX)
        or not patterns.covers(row.identifiers, manifest.identifier)
        or not patterns.covers(row.versions, manifest.version)
    ):
        raise Forbidden(f"This redeem token is not for '{manifest.identifier}' {manifest.version[:40]}.")


async def _whom(session: AsyncSession, row: RedeemToken) -> tuple[User, Organization | None]:
    """Whom its clients act for, and in which organization."""
    user = await session.get_one(User, row.account_id)
    if not user.active:
        raise Forbidden("The account of this redeem token is not active any more.")
    if row.organization_id is None:
        return user, None
    organization = await session.get_one(Organization, row.organization_id)
    if await eligibility.role_of(session, organization, user) is None:
        raise Forbidden("The account of this redeem token is not in the organization any more.")
    return user, organization


def _scope(manifest: Manifest, most: Sequence[str] | None) -> str:
    asked = manifests.scopes(manifest)
    return asked if most is None else " ".join(scope for scope in asked.split() if scope in most)
