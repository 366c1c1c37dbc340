"""Trusted issuers: providers outside of the platform whose own tokens it accepts, and whom they mean by a subject.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import Conflict, NotFound
from services.fakts.identity import accounts
from services.fakts.identity.accounts import Profile
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import TrustedIssuer, UpstreamIdentity, User

_MAX_NAME = 30


class NameTaken(Exception):
    """Somebody else here has the name that the token gives its user."""


@dataclass(frozen=True)
class NewIssuer:
    issuer: str
    audience: str
    jwks_uri: str | None
    username_claim: str


async def create(session: AsyncSession, feed: IdentityFeed, new: NewIssuer, *, by: str) -> TrustedIssuer:
    """Trust an issuer, from now on and everywhere. Raises Conflict when it is trusted already."""
    if await find(session, new.issuer) is not None:
        raise Conflict(f"'{new.issuer}' is trusted already; remove it first to change it")
    row = TrustedIssuer(**asdict(new), created_by=by)
    session.add(row)
    await session.flush()
    await feed.publish_issuer(session, row, trusted=True)
    return row


async def remove(session: AsyncSession, feed: IdentityFeed, row: TrustedIssuer) -> None:
    """Trust it no more: its tokens are refused everywhere within a second. Its users, and whom it means, stay."""
    await feed.publish_issuer(session, row, trusted=False)
    await session.delete(row)


async def find(session: AsyncSession, issuer: str) -> TrustedIssuer | None:
    return await session.scalar(select(TrustedIssuer).where(TrustedIssuer.issuer == issuer))


async def get(session: AsyncSession, issuer_id: UUID) -> TrustedIssuer:
    """Raises NotFound."""
    row = await session.get(TrustedIssuer, issuer_id)
    if row is None:
        raise NotFound(f"there is no trusted issuer {issuer_id}")
    return row


async def page(session: AsyncSession, *, after: str, limit: int) -> Sequence[TrustedIssuer]:
    """Trusted issuers by their URL."""
    query = select(TrustedIssuer).where(TrustedIssuer.issuer > after).order_by(TrustedIssuer.issuer).limit(limit)
    return (await session.scalars(query)).all()


async def bound(session: AsyncSession, issuer: str, subject: str) -> User | None:
    """Whom the issuer means by the subject, active or not; None for who never came."""
    identity = await session.get(UpstreamIdentity, (issuer, subject))
    return await session.get_one(User, identity.account_id) if identity is not None else None


async def bind(session: AsyncSession, issuer: str, subject: str, user: User) -> None:
    """From now on the issuer means this user by the subject, whomever it meant before."""
    identity = await session.get(UpstreamIdentity, (issuer, subject))
    if identity is None:
        session.add(UpstreamIdentity(issuer=issuer, subject=subject, account_id=user.id))
    else:
        identity.account_id = user.id
    await session.flush()


async def admit(
    session: AsyncSession, feed: IdentityFeed, issuer: str, subject: str, name: str, *, email: str | None
) -> User:
    """A new user, bound to issuer and subject. One that was here before is never taken over for its name.

    Args:
        name: what the issuer calls the user; a legal name is made of it.
        email: left out when another user has it.

    Raises:
        NameTaken
    """
    legal = legal_name_of(name)
    if await accounts.name_taken(session, legal):
        raise NameTaken(legal)
    if email is not None and await session.scalar(select(User.id).where(func.lower(User.email) == email.lower())):
        email = None
    user = await accounts.create(session, feed, legal, Profile(email=email))
    await bind(session, issuer, subject, user)
    return user


def legal_name_of(text: str) -> str:
    """A legal name for whom an issuer calls so: `jane.doe@example.org` becomes `jane_doe`."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text.partition("@")[0])
    if not re.match(r"[A-Za-z]", name):
        name = f"u{name}"
    return name[:_MAX_NAME]
