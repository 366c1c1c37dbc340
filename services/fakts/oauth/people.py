"""For whom a login acts, as tokens tell it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.identity import Role
from services.fakts.models import Login, Membership, Organization, User


@dataclass(frozen=True)
class Person:
    account: User
    organization: Organization | None
    """The one that the account picked for this login, while it is a member of it."""
    role: Role | None
    """In that organization."""


async def of_login(session: AsyncSession, login: Login) -> Person | None:
    """The person that the client of the login acts for; None for a client that acts for itself."""
    if login.account_id is None:
        return None
    account = await session.get_one(User, login.account_id)
    if login.organization_id is None:
        return Person(account, None, None)
    found = await _counting(session, account, Organization.id == login.organization_id)
    return Person(account, *found[0]) if found else Person(account, None, None)


async def memberships(session: AsyncSession, account: User) -> dict[str, Role]:
    """Roles by organization name."""
    return {organization.name: role for organization, role in await _counting(session, account)}


async def _counting(
    session: AsyncSession, account: User, *which: ColumnElement[bool]
) -> list[tuple[Organization, Role]]:
    """The memberships that count: an invitation does not."""
    rows = await session.execute(
        select(Organization, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == account.id, Membership.role.in_(list(Role)), Organization.active, *which)
    )
    return [(organization, Role(role)) for organization, role in rows]
