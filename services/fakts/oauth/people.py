"""For whom a login acts, as tokens tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.identity import Role
from services.fakts.models import Login, Membership, Organization, User


@dataclass(frozen=True)
class Person:
    account: User
    memberships: Mapping[str, Role]
    """Roles by organization name."""
    organization: Organization | None
    """The one that the account picked for this login."""

    @property
    def role(self) -> Role | None:
        """In the picked organization."""
        return self.memberships.get(self.organization.name) if self.organization is not None else None


async def of_login(session: AsyncSession, login: Login) -> Person | None:
    """The person that the client of the login acts for; None for a client that acts for itself."""
    if login.account_id is None:
        return None
    account = await session.get_one(User, login.account_id)
    rows = await session.execute(
        select(Organization, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == account.id, Membership.role.in_(list(Role)), Organization.active)
    )
    found = [(organization, Role(role)) for organization, role in rows]
    picked = next((organization for organization, _ in found if organization.id == login.organization_id), None)
    return Person(account, {organization.name: role for organization, role in found}, picked)
