"""Organizations, their types and their members.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.identity import MemberRole, Role
from libs.common.problems import Conflict, Invalid, NotFound
from services.fakts.identity import accounts, api_keys
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import Membership, Organization, OrganizationType, User

NOT_FOUND, EXISTS, NEEDS_OWNER = 3100, 3101, 3102
DEFAULT_TYPE = "basic"
INVITED = "invited"
"""In the place of a role. It gives nothing until it is accepted."""
RESERVED = frozenset({"externalid"})
"""Names, in lower case, that routes use in the place of an organization's."""


@dataclass(frozen=True)
class Profile:
    """What an organization's page says, besides the name."""

    label: str
    contact_name: str | None = None
    email: str | None = None
    url: str | None = None
    external_id: str | None = None
    external_admin_group: str | None = None
    external_member_group: str | None = None


async def create(
    session: AsyncSession, feed: IdentityFeed, name: str, profile: Profile, *, type_id: UUID | None, owner: User
) -> Organization:
    """A new organization, owned by `owner`. Raises Conflict when the name or the external id is taken."""
    if name.lower() in RESERVED or await accounts.name_taken(session, name):
        raise Conflict(f"the name '{name}' is taken or was used before", code=EXISTS)
    await _check_external_id(session, profile.external_id)
    kind = await _type(session, type_id)
    organization = Organization(name=name, type_id=kind.id, **asdict(profile))
    session.add(organization)
    await session.flush()
    session.add(Membership(organization_id=organization.id, user_id=owner.id, role=Role.OWNER))
    await feed.publish_accounts(session, [organization.id, owner.id])
    return organization


async def change(
    session: AsyncSession, organization: Organization, profile: Profile, *, type_id: UUID | None
) -> None:
    """Replace what the organization's page says. A type of None stays as it is."""
    await _check_external_id(session, profile.external_id, owner=organization.id)
    if type_id is not None:
        organization.type_id = (await _type(session, type_id)).id
    for member, value in asdict(profile).items():
        setattr(organization, member, value)
    await session.flush()


async def deactivate(session: AsyncSession, feed: IdentityFeed, organization: Organization) -> None:
    """End the organization: keys and memberships go, the name stays taken."""
    left = select(Membership.user_id).where(Membership.organization_id == organization.id)
    members = (await session.scalars(left)).all()
    organization.active = False
    organization.external_id = None
    await session.execute(delete(Membership).where(Membership.organization_id == organization.id))
    await api_keys.end_all(session, feed, organization)
    await feed.publish_accounts(session, [organization.id, *members])


async def get(session: AsyncSession, name_or_id: str) -> Organization:
    """An active organization. Raises NotFound."""
    query = select(Organization).where(Organization.active, accounts.by_name_or_id(name_or_id))
    found = await session.scalar(query)
    if found is None:
        raise NotFound(f"there is no organization '{name_or_id}'", code=NOT_FOUND)
    return found


async def get_external(session: AsyncSession, external_id: str) -> Organization:
    """An organization by its id in an external directory. Raises NotFound."""
    query = select(Organization).where(Organization.active, Organization.external_id == external_id)
    found = await session.scalar(query)
    if found is None:
        raise NotFound(f"there is no organization with the external id '{external_id}'", code=NOT_FOUND)
    return found


async def page(session: AsyncSession, *, after: str, limit: int) -> Sequence[Organization]:
    """Active organizations by name."""
    query = select(Organization).where(Organization.active, Organization.name > after)
    return (await session.scalars(query.order_by(Organization.name).limit(limit))).all()


async def put_member(
    session: AsyncSession,
    feed: IdentityFeed,
    organization: Organization,
    user: User,
    role: MemberRole | Role | None,
) -> bool:
    """Make a user a member; True when it was none before. None keeps the role of who is, and adds a `member`.

    Raises Conflict when the organization would lose its last owner.
    """
    membership = await session.get(Membership, (organization.id, user.id))
    if membership is None:
        session.add(Membership(organization_id=organization.id, user_id=user.id, role=role or Role.MEMBER))
    elif role is not None and role != membership.role:
        if membership.role == Role.OWNER:
            await _check_other_owner(session, organization, user)
        membership.role = role
    await feed.publish_accounts(session, [user.id])
    return membership is None


async def accept_membership(
    session: AsyncSession, feed: IdentityFeed, organization: Organization, user: User
) -> bool:
    """Make a user who is `invited` a member. Idempotent; False for who is neither invited nor a member."""
    membership = await session.get(Membership, (organization.id, user.id))
    if membership is not None and membership.role == INVITED:
        membership.role = Role.MEMBER
        await feed.publish_accounts(session, [user.id])
    return membership is not None


async def remove_member(session: AsyncSession, feed: IdentityFeed, organization: Organization, user: User) -> None:
    """Idempotent. Raises Conflict when the organization would lose its last owner."""
    membership = await session.get(Membership, (organization.id, user.id))
    if membership is None:
        return
    if membership.role == Role.OWNER:
        await _check_other_owner(session, organization, user)
    await session.delete(membership)
    await feed.publish_accounts(session, [user.id])


async def members(
    session: AsyncSession, organization: Organization, *, after: str, limit: int
) -> Sequence[tuple[str, str]]:
    """Names and roles, by name, the invited among them."""
    query = (
        select(User.name, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization.id, User.name > after)
        .order_by(User.name)
        .limit(limit)
    )
    return [(name, role) for name, role in (await session.execute(query)).all()]


async def role_of(session: AsyncSession, organization: Organization, user: User) -> str | None:
    """The user's role, or None."""
    membership = await session.get(Membership, (organization.id, user.id))
    return membership.role if membership is not None else None


async def types(session: AsyncSession) -> Sequence[OrganizationType]:
    return (await session.scalars(select(OrganizationType).order_by(OrganizationType.name))).all()


async def create_type(session: AsyncSession, name: str) -> OrganizationType:
    """The type of that name, made if need be."""
    found = await session.scalar(select(OrganizationType).where(OrganizationType.name == name))
    if found is None:
        found = OrganizationType(name=name)
        session.add(found)
        await session.flush()
    return found


async def delete_type(session: AsyncSession, type_id: UUID) -> None:
    """Idempotent. Raises Conflict while an organization is of that type, and for the default type."""
    found = await session.get(OrganizationType, type_id)
    if found is None:
        return
    if found.name == DEFAULT_TYPE:
        raise Conflict(f"'{DEFAULT_TYPE}' is the type of organizations that name none; it stays")
    used = await session.scalar(select(func.count()).select_from(Organization).where(Organization.type_id == type_id))
    if used:
        raise Conflict(f"{used} organizations are of type '{found.name}'; give them another type first")
    await session.delete(found)


async def _type(session: AsyncSession, type_id: UUID | None) -> OrganizationType:
    if type_id is None:
        return await create_type(session, DEFAULT_TYPE)
    found = await session.get(OrganizationType, type_id)
    if found is None:
        raise Invalid("type_id names no organization type; GET /v1/organization/types lists them")
    return found


async def _check_external_id(session: AsyncSession, external_id: str | None, *, owner: UUID | None = None) -> None:
    if external_id is None:
        return
    found = await session.scalar(select(Organization.id).where(Organization.external_id == external_id))
    if found is not None and found != owner:
        raise Conflict("another organization has this external_id", code=EXISTS)


async def _check_other_owner(session: AsyncSession, organization: Organization, user: User) -> None:
    others = await session.scalar(
        select(func.count())
        .select_from(Membership)
        .where(
            Membership.organization_id == organization.id,
            Membership.role == Role.OWNER,
            Membership.user_id != user.id,
        )
    )
    if not others:
        raise Conflict(
            f"'{user.name}' is the last owner of '{organization.name}'; make another member an owner first",
            code=NEEDS_OWNER,
        )
