"""Invitations: a link that makes one user a member of an organization, once. Its token is shown once, kept as a hash.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.identity import Role
from libs.common.problems import Conflict, NotFound
from services.fakts.identity import organizations
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import Invitation, Organization, User

LIFETIME = timedelta(days=7)
"""Of an invitation that names no end."""
KEPT = timedelta(days=30)
"""How long one that is over can be told from one that never was."""
NOT_GOOD = "this invitation is not known, was used or taken back, or has expired; ask for another"


async def create(
    session: AsyncSession,
    organization: Organization,
    role: Role,
    *,
    by: User,
    note: str = "",
    expires_at: datetime | None = None,
) -> tuple[Invitation, str]:
    """An invitation, and its token, which nobody can show again."""
    token = secrets.token_urlsafe(32)
    row = Invitation(
        digest=_digest(token),
        organization_id=organization.id,
        role=role,
        note=note,
        created_by=by.id,
        expires_at=expires_at or db.now() + LIFETIME,
    )
    session.add(row)
    await session.flush()
    return row, token


async def find(session: AsyncSession, token: str) -> tuple[Invitation, Organization]:
    """An invitation that can be accepted, and to where. Raises NotFound with the same words for all others."""
    row = await _of_token(session, token)
    if row is None or row.accepted_by is not None or not await _is_good(session, row):
        raise NotFound(NOT_GOOD)
    return row, await session.get_one(Organization, row.organization_id)


async def accept(session: AsyncSession, feed: IdentityFeed, token: str, user: User) -> tuple[Organization, str]:
    """Make the user a member; returns the organization and the role. For who accepted before, that is the answer.

    Raises:
        NotFound: it cannot be accepted (any more).
        Conflict: the user is a member already, whose role an owner changes.
    """
    row = await _of_token(session, token)
    if row is None or row.accepted_by not in (None, user.id) or not await _is_good(session, row):
        raise NotFound(NOT_GOOD)
    organization = await session.get_one(Organization, row.organization_id)
    role = await organizations.role_of(session, organization, user)
    if role in tuple(Role):
        if row.accepted_by is None:
            raise Conflict(f"you are a member of '{organization.name}' already, as {role}; an owner changes roles")
        return organization, role
    if row.accepted_by is not None:  # and was removed since
        raise NotFound(NOT_GOOD)
    row.accepted_by = user.id
    await organizations.put_member(session, feed, organization, user, Role(row.role))
    return organization, row.role


async def revoke(session: AsyncSession, invitation_id: UUID, organization: Organization | None = None) -> Invitation:
    """Take it back. Idempotent. Raises NotFound, also for one to another organization."""
    row = await session.get(Invitation, invitation_id)
    if row is None or (organization is not None and row.organization_id != organization.id):
        raise NotFound(f"there is no invitation {invitation_id}")
    row.revoked_at = row.revoked_at or db.now()
    return row


async def page(
    session: AsyncSession, organization: Organization | None, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[tuple[Invitation, str]]:
    """Invitations that wait to be accepted with their organizations' names, oldest first; to one or to all."""
    query = select(Invitation, Organization.name).join(Organization, Organization.id == Invitation.organization_id)
    query = query.where(Organization.active, Invitation.accepted_by.is_(None), Invitation.revoked_at.is_(None))
    query = query.where(Invitation.expires_at > db.now())
    if organization is not None:
        query = query.where(Invitation.organization_id == organization.id)
    if after is not None:
        query = query.where(tuple_(Invitation.created_at, Invitation.id) > after)
    rows = await session.execute(query.order_by(Invitation.created_at, Invitation.id).limit(limit))
    return [(row, name) for row, name in rows.all()]


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget those that are long over."""
    await session.execute(delete(Invitation).where(Invitation.expires_at < now - KEPT))


async def _of_token(session: AsyncSession, token: str) -> Invitation | None:
    return await session.scalar(select(Invitation).where(Invitation.digest == _digest(token)))


async def _is_good(session: AsyncSession, row: Invitation) -> bool:
    """It is in force, and who made it could still invite."""
    if row.revoked_at is not None or row.expires_at <= db.now():
        return False
    organization = await session.get_one(Organization, row.organization_id)
    by = await session.get_one(User, row.created_by)
    if not (organization.active and by.active):
        return False
    return by.staff or await organizations.role_of(session, organization, by) == Role.OWNER


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
