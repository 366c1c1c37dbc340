"""What one person may choose who decides on an app."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.fakts.models import Membership, Organization, User
from services.fakts.preflight.eligibility import ROLES
from services.fakts.preflight.strategies.interface import Needs
from services.fakts.preflight.views import ApprovalView


@dataclass(frozen=True)
class Choices:
    organizations: tuple[tuple[str, str], ...]
    """Names and labels of the organizations in which the person may let the app act."""
    must_pick: bool
    """One of them has to be picked."""
    refused: str
    """Why the person may not approve the app, in words; empty if they may."""


async def for_person(session: AsyncSession, view: ApprovalView, person: User) -> Choices:
    """The person's own organizations, those that the app's rule allows."""
    query = (
        select(Organization.name, Organization.label)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(
            Membership.user_id == person.id,
            Membership.role.in_(view.roles or ROLES),
            Organization.active,
        )
        .order_by(Organization.name)
    )
    if view.organizations is not None:
        query = query.where(Organization.name.in_(view.organizations))
    found = tuple((name, label) for name, label in (await session.execute(query)).all())
    must_pick = view.organizations is not None or bool(view.roles)
    refused = ""
    if view.needs is Needs.STAFF and not person.staff:
        refused = "Only an administrator may approve this app."
    elif must_pick and not found:
        roles = f" who are {' or '.join(view.roles)}" if view.roles else ""
        of = f" of {' or '.join(view.organizations)}" if view.organizations else " of an organization"
        refused = f"Only members{of}{roles} may approve this app."
    return Choices(found, must_pick, refused)
