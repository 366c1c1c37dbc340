"""Collections: found, made, listed, opened to others, removed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.problems import Conflict, Invalid
from services.gateway.data import acl
from services.gateway.data.acl import Access
from services.gateway.data.asked import Asked
from services.gateway.models import Collection, File, StoredObject
from services.gateway.options import MAX_TIMEOUT

SESSION_AT_MOST = timedelta(seconds=MAX_TIMEOUT + 300)
"""No call takes longer."""
STILL_READ = timedelta(minutes=10)
"""How long the bytes of a file that was removed or replaced stay: somebody may just have looked it up, or a backup
has the index as it was, and comes to the bytes later."""


async def find(session: AsyncSession, asked: Asked, wanted: Access) -> Collection | None:
    """The collection, if the visitor may do there what it wants. None for a special one that holds nothing yet.

    Raises NotFound, Forbidden.
    """
    query = select(Collection).where(Collection.owner_id == asked.owner_id, Collection.name == asked.path.collection)
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None and not asked.path.is_special:
        raise asked.absent()
    asked.check(acl.access(asked.visitor, asked.path, tuple(row.acl) if row is not None else ()), wanted)
    return row


async def ensure(session: AsyncSession, asked: Asked) -> UUID:
    """The id of the collection that the visitor wants to write to. Makes a special one.

    Raises NotFound, Forbidden.
    """
    row = await find(session, asked, Access.WRITE)
    if row is not None:
        return row.id
    expires_at = db.now() + SESSION_AT_MOST if asked.path.is_session else None
    await _insert(session, asked, asked.path.collection, [], expires_at=expires_at)
    row = await find(session, asked, Access.WRITE)
    assert row is not None  # noqa: S101 - it was made, here or by somebody else
    return row.id


async def create(session: AsyncSession, asked: Asked, name: str, readers: tuple[str, ...]) -> None:
    """Make a collection in an account's folder. Raises Conflict, Forbidden, NotFound, Invalid."""
    if not asked.path.owner or asked.path.collection:
        raise Invalid("a collection is made in an account's own folder, such as data://.my: collections do not nest")
    check_folder(asked, Access.WRITE)
    if not await _insert(session, asked, name, list(readers)):
        raise Conflict(f"there is a collection {asked.path}/{name} already")


def check_folder(asked: Asked, wanted: Access) -> None:
    """Raises NotFound or Forbidden, unless the visitor may do so in an account's own folder."""
    allowed = acl.access(asked.visitor, asked.path, ())
    if asked.owner_id is None or not asked.visitor.belongs_to(asked.path.owner):
        raise asked.absent()
    asked.check(allowed, wanted)


async def open_to(session: AsyncSession, asked: Asked, readers: tuple[str, ...]) -> None:
    """Change who reads beside the owner. Raises Invalid, NotFound, Forbidden."""
    row = await find(session, asked, Access.WRITE)
    if row is None or asked.path.is_special:
        raise Invalid(f"{asked.path} has no access list: it is for its call, or its algorithm, alone")
    row.acl = list(readers)


async def of_account(session: AsyncSession, asked: Asked, *, after: str, limit: int) -> Sequence[Collection]:
    """Collections in an account's folder that the visitor may see, by name. Raises NotFound, Forbidden.

    Args:
        after: name of the last one that is known.
    """
    visitor, owner = asked.visitor, asked.path.owner
    query = select(Collection).where(
        Collection.owner_id == asked.owner_id, Collection.name > after, ~Collection.name.startswith(".")
    )
    sees_all = asked.owner_id is not None and visitor.belongs_to(owner) and visitor.reads
    if not sees_all:
        query = query.where(
            or_(false(), *(Collection.acl.contains([entry]) for entry in acl.open_to(visitor, owner)))
        )
    rows = (await session.execute(query.order_by(Collection.name).limit(limit))).scalars().all()
    if not rows and not sees_all and not after:
        asked.check(Access.NONE, Access.READ)
    return rows


async def remove(session: AsyncSession, asked: Asked, *, force: bool) -> int:
    """Remove a collection; returns how many things went. Raises Conflict when it is not empty and not forced."""
    row = await find(session, asked, Access.WRITE)
    if row is None:
        return 0
    # No file can come in from here on.
    await session.execute(select(Collection.id).where(Collection.id == row.id).with_for_update())
    held = (
        await session.execute(select(func.count()).select_from(File).where(File.collection_id == row.id))
    ).scalar_one()
    if held and not force:
        raise Conflict(f"{asked.path} is not empty; remove its files first, or all with force=true")
    await drop(session, row.id)
    return held + 1


async def drop(session: AsyncSession, collection_id: UUID) -> None:
    """Remove the collection with its files; their bytes go later."""
    gone = delete(File).where(File.collection_id == collection_id).returning(File.object_id).cte("gone")
    await session.execute(
        update(StoredObject)
        .where(StoredObject.id.in_(select(gone.c.object_id)))
        .values(expires_at=db.now() + STILL_READ)
        .execution_options(synchronize_session=False)
    )
    await session.execute(delete(Collection).where(Collection.id == collection_id))


async def _insert(session: AsyncSession, asked: Asked, name: str, readers: list[str], **more: object) -> bool:
    values = {"id": uuid4(), "owner_id": asked.owner_id, "name": name, "acl": readers, "created_at": db.now()}
    statement = insert(Collection).values(**values, **more).on_conflict_do_nothing().returning(Collection.id)
    return (await session.execute(statement)).scalar_one_or_none() is not None
