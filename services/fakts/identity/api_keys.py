"""API keys: `sim`, 24 base64 characters, `1`. Shown once, kept as a hash, in force everywhere within a second.

Whoever calls a function that writes holds the identity lock (`locks.IDENTITY`). Nothing here commits.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.identity import Permissions, Principal
from libs.common.directory import key_hash
from libs.common.problems import Conflict, Forbidden, Invalid, NotFound
from services.fakts.identity.feed import IdentityFeed
from services.fakts.identity.permissions import excess
from services.fakts.models import Account, ApiKey, User

_FORM = re.compile(r"sim[A-Za-z0-9+/]{24}1")
_RANDOM_BYTES = 18
NO_PERMISSIONS = Permissions()


@dataclass(frozen=True)
class NewKey:
    """What a key is made with. A new key allows nothing unless its permissions say so."""

    label: str
    admin: bool = False
    permissions: Permissions = NO_PERMISSIONS
    expires_at: datetime | None = None


def generate() -> str:
    """A random key, with 144 bits of entropy."""
    return f"sim{base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode()}1"


def mask(raw: str) -> str:
    """The key with all but its last characters hidden."""
    return f"sim{'*' * (len(raw) - 8)}{raw[-5:]}"


@dataclass(frozen=True)
class KeyChange:
    """What is to be different about a key. Members that are None stay as they are."""

    label: str | None = None
    permissions: Permissions | None = None
    expires_at: datetime | None = None
    is_endless: bool = False
    """It expires no more."""


async def create(
    session: AsyncSession, feed: IdentityFeed, owner: Account, new: NewKey, *, within: Principal | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the key itself, which nobody can show again.

    Args:
        within: who asks for it, with a key or token that gives away no more than it has; None for a person.

    Raises:
        Forbidden: the key would allow more than the key or token it is made with.
        Invalid: an admin key for an account that is no administrator's.
    """
    if within is not None:
        await _check_within(session, within, new)
    raw = generate()
    return await _add(session, feed, owner, new, raw), raw


async def import_key(session: AsyncSession, feed: IdentityFeed, owner: Account, new: NewKey, raw: str) -> ApiKey:
    """Take over a key that another cluster issued. Importing it twice is importing it once.

    Raises:
        Invalid: it does not look like one.
        Conflict: it is another account's, or was revoked here.
    """
    if not _FORM.fullmatch(raw):
        raise Invalid("an API key is 'sim', 24 base64 characters and '1'; this is not one")
    known = await session.scalar(select(ApiKey).where(ApiKey.digest == key_hash(raw)))
    if known is None:
        return await _add(session, feed, owner, new, raw)
    if known.account_id != owner.id or known.ended_at is not None:
        raise Conflict("this key belongs to another account, or was revoked here; use another")
    return known


async def change(
    session: AsyncSession, feed: IdentityFeed, row: ApiKey, owner: Account, wanted: KeyChange, *, within: Principal
) -> None:
    """Rename a key, or change what it allows and for how long. In force everywhere within a second.

    Raises:
        Conflict: it was revoked or has expired.
        Forbidden: it would allow more than the key or token of who asks.
        Invalid: permissions for an admin key, which has none.
    """
    if row.ended_at is not None:
        raise Conflict("this key was revoked or has expired; make another")
    if row.admin and wanted.permissions is not None:
        raise Invalid("an admin key reaches all of administration and nothing else; it has no permissions")
    changed = NewKey(
        label=wanted.label or row.label,
        admin=row.admin,
        permissions=wanted.permissions or Permissions.model_validate(row.permissions),
        expires_at=None if wanted.is_endless else wanted.expires_at or row.expires_at,
    )
    if replace(changed, label=row.label) != _as_new(row):
        await _check_within(session, within, changed)
    row.label, row.expires_at = changed.label, changed.expires_at
    row.permissions = {} if row.admin else changed.permissions.model_dump(mode="json")
    await feed.publish_keys(session, [(row, owner.name)])


async def end(session: AsyncSession, feed: IdentityFeed, row: ApiKey, owner: Account) -> None:
    """Revoke a key. It is refused everywhere within a second, and never comes back."""
    if row.ended_at is None:
        row.ended_at = db.now()
        await feed.publish_keys(session, [(row, owner.name)])


async def end_all(session: AsyncSession, feed: IdentityFeed, owner: Account, *, admin_only: bool = False) -> None:
    """Revoke all keys of an account, or its admin keys."""
    query = select(ApiKey).where(ApiKey.account_id == owner.id, ApiKey.ended_at.is_(None))
    if admin_only:
        query = query.where(ApiKey.admin)
    rows = await session.scalars(query)
    for row in rows.all():
        await end(session, feed, row, owner)


async def end_expired(session: AsyncSession, feed: IdentityFeed) -> int:
    """Take expired keys out of the feed. Followers refuse them anyway. Returns how many there were."""
    now = db.now()
    expired = select(ApiKey, Account.name).join(Account, Account.id == ApiKey.account_id)
    rows = (await session.execute(expired.where(ApiKey.ended_at.is_(None), ApiKey.expires_at <= now))).all()
    for row, _ in rows:
        row.ended_at = now
    await feed.publish_keys(session, [(row, owner) for row, owner in rows])
    return len(rows)


async def page(
    session: AsyncSession, owner: Account | None, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[tuple[ApiKey, str]]:
    """Keys in force with their owners' names, oldest first; of one account or of all."""
    query = select(ApiKey, Account.name).join(Account, Account.id == ApiKey.account_id)
    query = query.where(ApiKey.ended_at.is_(None))
    if owner is not None:
        query = query.where(ApiKey.account_id == owner.id)
    if after is not None:
        query = query.where(tuple_(ApiKey.created_at, ApiKey.id) > after)
    rows = await session.execute(query.order_by(ApiKey.created_at, ApiKey.id).limit(limit))
    return [(row, name) for row, name in rows.all()]


async def get(session: AsyncSession, key_id: UUID, owner: Account | None = None) -> tuple[ApiKey, Account]:
    """A key, in force or not, and its account. Raises NotFound, also for a key of another account than `owner`."""
    row = await session.get(ApiKey, key_id)
    if row is None or (owner is not None and row.account_id != owner.id):
        raise NotFound(f"there is no key {key_id}")
    return row, await session.get_one(Account, row.account_id)


async def _add(session: AsyncSession, feed: IdentityFeed, owner: Account, new: NewKey, raw: str) -> ApiKey:
    if new.admin and not (isinstance(owner, User) and owner.staff):
        raise Invalid(f"'{owner.name}' is no administrator, and so cannot have an admin key")
    row = ApiKey(
        account_id=owner.id,
        digest=key_hash(raw),
        mask=mask(raw),
        label=new.label,
        admin=new.admin,
        permissions={} if new.admin else new.permissions.model_dump(mode="json"),
        expires_at=new.expires_at,
    )
    session.add(row)
    await session.flush()
    await feed.publish_keys(session, [(row, owner.name)])
    return row


def _as_new(row: ApiKey) -> NewKey:
    permissions = Permissions.model_validate(row.permissions)
    return NewKey(label=row.label, admin=row.admin, permissions=permissions, expires_at=row.expires_at)


async def _check_within(session: AsyncSession, who: Principal, new: NewKey) -> None:
    if who.is_admin:
        return
    if new.admin:
        raise Forbidden("only an administrator makes admin keys; use an admin key")
    used = await session.get_one(ApiKey, who.key_id) if who.key_id is not None else None
    held = who.permissions if used is None else Permissions.model_validate(used.permissions)
    if found := excess(new.permissions, held):
        raise Forbidden(f"a {'token' if used is None else 'key'} cannot give what it does not have: {found}")
    latest = used.expires_at if used is not None else None
    if latest is not None and (new.expires_at is None or new.expires_at > latest):
        raise Forbidden("a key cannot make one that lives longer than itself; give an earlier 'expires_at'")
