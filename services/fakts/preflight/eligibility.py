"""Who may decide on an app, and in which organization it will act."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.identity import Role
from libs.common.problems import Forbidden, Invalid
from services.fakts.identity import organizations
from services.fakts.models import Approval, Organization, User
from services.fakts.preflight.strategies.interface import Needs

ROLES = frozenset(Role)
"""An invited user is no member yet."""


async def picked(session: AsyncSession, approval: Approval, by: User, name: str | None) -> Organization | None:
    """The organization that an app will act in if this person approves it; None for none.

    Args:
        name: what the person picked. Where the rule names one organization only, it need not be picked.

    Raises:
        Forbidden: this person may not approve the app, or not in that organization.
        Invalid: an organization is to be picked.
    """
    if approval.needs == Needs.STAFF and not by.staff:
        raise Forbidden("only an administrator may approve this app")
    allowed = approval.organizations
    if name is None and allowed is not None and len(allowed) == 1:
        name = allowed[0]
    if name is None:
        if allowed is not None or approval.roles:
            raise Invalid(f"pick an organization for this app: {', '.join(allowed or ('one of yours',))}")
        return None
    organization = await find(session, name)
    role = await role_of(session, organization, by)
    if organization is None or role is None:
        raise Forbidden(f"you are no member of an organization '{name[:40]}'")
    if allowed is not None and organization.name not in allowed:
        raise Forbidden(f"this app may act in {', '.join(allowed)}, not in '{organization.name}'")
    if approval.roles and role not in approval.roles:
        raise Forbidden(f"in '{organization.name}', only who is {' or '.join(approval.roles)} may approve this app")
    return organization


async def check_may_deny(session: AsyncSession, approval: Approval, by: User) -> None:
    """Who may approve an app may deny it, and an administrator may. Raises Forbidden."""
    if by.staff:
        return
    if approval.needs == Needs.STAFF:
        raise Forbidden("only an administrator may decide on this app")
    if approval.organizations is None:
        return
    for name in approval.organizations:
        role = await role_of(session, await find(session, name), by)
        if role is not None and role in (approval.roles or ROLES):
            return
    raise Forbidden("only those who may approve this app may deny it")


async def find(session: AsyncSession, name: str) -> Organization | None:
    return await session.scalar(select(Organization).where(Organization.active, Organization.name == name))


async def role_of(session: AsyncSession, organization: Organization | None, user: User) -> str | None:
    """The user's role; None for who is no member, or only invited."""
    role = await organizations.role_of(session, organization, user) if organization is not None else None
    return role if role in ROLES else None
