"""People for whom an upstream provider vouches: which account each has, and the organizations it puts them into.

An issuer and a subject stand for an account from the first sign-in on, which makes it. Names and addresses never do:
who holds a name at a provider does not get the account of that name here. Whoever calls a function that writes holds
the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.contracts.identity import Role
from libs.common.problems import Conflict, NotFound
from services.fakts.identity import accounts, organizations
from services.fakts.identity.accounts import Profile
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import UpstreamIdentity, User

log = logs.get(__name__)


async def find(session: AsyncSession, issuer: str, subject: str) -> User | None:
    """The account of an identity, active or not."""
    known = await session.get(UpstreamIdentity, (issuer, subject))
    return await session.get_one(User, known.account_id) if known is not None else None


async def adopt(
    session: AsyncSession,
    feed: IdentityFeed,
    issuer: str,
    subject: str,
    *,
    names: Iterable[str],
    email: str | None,
    fullname: str | None,
) -> User:
    """A new account for an identity.

    Args:
        names: legal names, the best first; those that are or were another's are passed over.
        email: left out when another user has it.

    Raises:
        Conflict: none of the names is free.
    """
    if email is not None:
        taken = await session.scalar(select(User.id).where(func.lower(User.email) == email.lower()))
        email = None if taken is not None else email
    for name in names:
        if not await accounts.name_taken(session, name):
            user = await accounts.create(session, feed, name, Profile(email=email, fullname=fullname))
            session.add(UpstreamIdentity(issuer=issuer, subject=subject, account_id=user.id))
            await session.flush()
            return user
    raise Conflict("no name is left for your account here; ask an administrator")


async def bind(session: AsyncSession, issuer: str, subject: str, user: User) -> None:
    """From now on the identity is that of an account that was here before, and of no other."""
    known = await session.get(UpstreamIdentity, (issuer, subject))
    if known is None:
        session.add(UpstreamIdentity(issuer=issuer, subject=subject, account_id=user.id))
    else:
        known.account_id = user.id
    await session.flush()


async def place(session: AsyncSession, feed: IdentityFeed, user: User, roles: Mapping[str, Role | None]) -> None:
    """Give the user these roles, by organization; None takes the user out.

    What cannot be done, because there is no such organization or it would lose its last owner, is logged and left.
    """
    for name, role in roles.items():
        try:
            organization = await organizations.get(session, name)
            if role is None:
                await organizations.remove_member(session, feed, organization, user)
            elif await organizations.role_of(session, organization, user) != role:
                await organizations.put_member(session, feed, organization, user, role.value)
        except (NotFound, Conflict) as problem:
            log.warning("membership_not_changed", user=user.name, organization=name, reason=problem.detail)
