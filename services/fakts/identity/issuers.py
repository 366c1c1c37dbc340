"""Trusted issuers: providers outside of the platform whose own tokens it accepts.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import Conflict, NotFound
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import TrustedIssuer


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
