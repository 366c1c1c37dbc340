"""Users: made, changed and deactivated by administrators.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import Conflict, NotFound
from services.fakts.identity import api_keys
from services.fakts.identity.feed import IdentityFeed
from services.fakts.models import Account, Membership, User

_ACTIVE_OF_ID = select(User).where(User.active, User.id == bindparam("id"))
_ACTIVE_OF_NAME = select(User).where(User.active, User.name == bindparam("name"))
NOT_FOUND, NAME_TAKEN, EMAIL_TAKEN = 3000, 3003, 3004


@dataclass(frozen=True)
class Profile:
    """What a user's page says, besides the name."""

    email: str | None = None
    fullname: str | None = None
    company_name: str | None = None
    company_role: str | None = None


async def create(
    session: AsyncSession,
    feed: IdentityFeed,
    name: str,
    profile: Profile,
    *,
    password_hash: str | None = None,
    staff: bool = False,
) -> User:
    """A new user. Raises Conflict when the name, in any case, was ever used, or the address is."""
    if await name_taken(session, name):
        raise Conflict(f"the name '{name}' is taken or was used before", code=NAME_TAKEN)
    await _check_email(session, profile.email)
    user = User(name=name, password_hash=password_hash, staff=staff, **vars(profile))
    session.add(user)
    await session.flush()
    await feed.publish_accounts(session, [user.id])
    return user


async def change_profile(session: AsyncSession, user: User, profile: Profile) -> None:
    """Replace what the user's page says. Raises Conflict when the address is another user's."""
    await _check_email(session, profile.email, owner=user.id)
    for member, value in vars(profile).items():
        setattr(user, member, value)
    await session.flush()


async def set_session_limit(session: AsyncSession, feed: IdentityFeed, user: User, limit: int) -> None:
    user.session_limit = limit
    await feed.publish_accounts(session, [user.id])


async def set_staff(session: AsyncSession, feed: IdentityFeed, user: User, staff: bool) -> None:
    """Make the user an administrator, or end that, and with it the user's admin keys.

    Raises Conflict when the platform would have no administrator left.
    """
    if user.staff and not staff:
        await _check_other_staff(session, user)
        await api_keys.end_all(session, feed, user, admin_only=True)
    user.staff = staff
    await feed.publish_accounts(session, [user.id])


async def deactivate(session: AsyncSession, feed: IdentityFeed, user: User) -> None:
    """End the account: keys, memberships and personal data go, the name stays taken.

    Organizations may lose their last owner by this; administrators can name another. Raises Conflict when the
    platform would have no administrator left.
    """
    if user.staff:
        await _check_other_staff(session, user)
    user.active = user.staff = False
    for member in (*vars(Profile()), "password_hash"):
        setattr(user, member, None)
    await session.execute(delete(Membership).where(Membership.user_id == user.id))
    await api_keys.end_all(session, feed, user)
    await feed.publish_accounts(session, [user.id])


async def find(session: AsyncSession, name_or_id: str) -> User | None:
    """An active user by name or id."""
    user_id = _as_id(name_or_id)
    if user_id is None:
        return await session.scalar(_ACTIVE_OF_NAME, {"name": name_or_id})
    return await session.scalar(_ACTIVE_OF_ID, {"id": user_id})


async def get(session: AsyncSession, name_or_id: str) -> User:
    """Raises NotFound."""
    user = await find(session, name_or_id)
    if user is None:
        raise NotFound(f"there is no user '{name_or_id}'", code=NOT_FOUND)
    return user


async def page(session: AsyncSession, *, after: str, limit: int) -> Sequence[User]:
    """Active users by name."""
    query = select(User).where(User.active, User.name > after).order_by(User.name).limit(limit)
    return (await session.scalars(query)).all()


async def name_taken(session: AsyncSession, name: str) -> bool:
    """Users and organizations share their names, for both own algorithms."""
    found = await session.scalar(select(Account.id).where(func.lower(Account.name) == name.lower()))
    return found is not None


def by_name_or_id(text: str):  # type: ignore[no-untyped-def]
    """SQL condition."""
    account_id = _as_id(text)
    return Account.name == text if account_id is None else Account.id == account_id


def _as_id(text: str) -> UUID | None:
    """A name is never a UUID: it has no hyphen."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def _check_email(session: AsyncSession, email: str | None, *, owner: UUID | None = None) -> None:
    if email is None:
        return
    found = await session.scalar(select(User.id).where(func.lower(User.email) == email.lower()))
    if found is not None and found != owner:
        raise Conflict(f"the address '{email}' belongs to another user", code=EMAIL_TAKEN)


async def _check_other_staff(session: AsyncSession, user: User) -> None:
    others = await session.scalar(
        select(func.count()).select_from(User).where(User.staff, User.active, User.id != user.id)
    )
    if not others:
        raise Conflict(f"'{user.name}' is the last administrator; make another user one first")
