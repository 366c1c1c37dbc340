"""What the identity feed says about accounts and keys, made from their rows.

A use case takes the identity lock first (`locks.IDENTITY`), changes rows, and publishes what it touched at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts import identity
from libs.common.contracts.identity import IDENTITY_FEED, Ended, Permissions, Role
from libs.common.directory import ACCOUNT_PREFIX, ENDED_PREFIX, ISSUER_PREFIX, KEY_PREFIX
from libs.common.feed import FeedPublisher
from services.fakts.models import Account, ApiKey, FeedEntry, Membership, Organization, TrustedIssuer, User


class IdentityFeed:
    """Publishes accounts, keys and trusted issuers in the transaction that changes them."""

    def __init__(self, publisher: FeedPublisher) -> None:
        self._publisher = publisher

    async def publish_accounts(self, session: AsyncSession, ids: Iterable[UUID]) -> None:
        """Publish the accounts as they are now, with their memberships."""
        await session.flush()
        for account_id in ids:
            account = await session.get_one(Account, account_id)
            body = await account_body(session, account)
            key = f"{ACCOUNT_PREFIX}{account.name}"
            await self._publisher.publish(session, IDENTITY_FEED, key, body.model_dump(mode="json"))

    async def publish_keys(self, session: AsyncSession, keys: Iterable[tuple[ApiKey, str]]) -> None:
        """Publish keys, each with its owner's name; one that ended is taken out."""
        await session.flush()
        for row, owner in keys:
            body = None
            if row.ended_at is None:
                body = identity.Key(
                    id=row.id,
                    owner=owner,
                    admin=row.admin,
                    permissions=Permissions.model_validate(row.permissions),
                    expires_at=row.expires_at,
                ).model_dump(mode="json")
            await self._publisher.publish(session, IDENTITY_FEED, f"{KEY_PREFIX}{row.digest}", body)

    async def publish_ended(self, session: AsyncSession, ids: Iterable[UUID], *, until: datetime) -> None:
        """Logins or clients were revoked: their access tokens, which live until then at most, are good no more."""
        body = Ended(until=until).model_dump(mode="json")
        for one in ids:
            await self._publisher.publish(session, IDENTITY_FEED, f"{ENDED_PREFIX}{one}", body)

    async def take_out_ended(self, session: AsyncSession, now: datetime, *, at_most: int = 500) -> None:
        """Take out what was said of logins and clients whose last access token has expired."""
        rows = await session.execute(
            select(FeedEntry.key, FeedEntry.body)
            .where(FeedEntry.name == IDENTITY_FEED, FeedEntry.key.startswith(ENDED_PREFIX))
            .where(FeedEntry.body.is_not(None))
        )
        over = [key for key, body in rows if Ended.model_validate(body).until <= now]
        for key in over[:at_most]:
            await self._publisher.publish(session, IDENTITY_FEED, key, None)

    async def publish_issuer(self, session: AsyncSession, row: TrustedIssuer, *, trusted: bool) -> None:
        """Publish that an issuer is trusted, or not any more."""
        body = identity.TrustedIssuer(id=row.id, issuer=row.issuer).model_dump(mode="json") if trusted else None
        await self._publisher.publish(session, IDENTITY_FEED, f"{ISSUER_PREFIX}{row.id}", body)


async def account_body(session: AsyncSession, account: Account) -> identity.Account:
    """An account as other services see it."""
    return identity.Account(
        id=account.id,
        name=account.name,
        kind=account.kind,
        active=account.active,
        staff=isinstance(account, User) and account.staff,
        session_limit=account.session_limit,
        organizations=await _organizations(session, account.id),
    )


async def _organizations(session: AsyncSession, user_id: UUID) -> dict[str, Role]:
    """Roles by organization name, of the memberships that count: an invitation does not."""
    rows = await session.execute(
        select(Organization.name, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Membership.role.in_(list(Role)), Organization.active)
        .order_by(Organization.name)
    )
    return {name: Role(role) for name, role in rows}
