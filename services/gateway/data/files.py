"""Files: found, written, removed. Bytes go straight between the client and the object store."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.blobs import Objects
from libs.common.db import Database
from libs.common.problems import TooLarge
from services.gateway.answers import RequestTimeout
from services.gateway.data import collections
from services.gateway.data.acl import Access
from services.gateway.data.asked import Asked
from services.gateway.data.collections import STILL_READ
from services.gateway.models import Collection, File, StoredObject

UPLOAD_AT_MOST = timedelta(hours=6)
"""For one file to arrive. What has not by then is given up, as its gateway may have died."""
TEMPORARY = timedelta(days=1)
"""How long a temporary file of an algorithm lasts."""


async def find(session: AsyncSession, asked: Asked) -> File:
    """The file. Raises NotFound, Forbidden."""
    collection = await collections.find(session, asked, Access.READ)
    query = select(File).where(
        File.collection_id == (collection.id if collection is not None else None),
        File.name == asked.path.file,
        _lives(db.now()),
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise asked.absent()
    return row


async def of_collection(session: AsyncSession, collection_id: UUID, *, after: str, limit: int) -> Sequence[File]:
    """Files of a collection, by name.

    Args:
        after: name of the last one that is known.
    """
    query = select(File).where(File.collection_id == collection_id, File.name > after, _lives(db.now()))
    return (await session.execute(query.order_by(File.name).limit(limit))).scalars().all()


async def remove(session: AsyncSession, asked: Asked) -> None:
    """Raises NotFound, Forbidden."""
    collection = await collections.find(session, asked, Access.WRITE)
    gone = (
        delete(File)
        .where(
            File.collection_id == (collection.id if collection is not None else None),
            File.name == asked.path.file,
            _lives(db.now()),
        )
        .returning(File.object_id)
    )
    object_id = (await session.execute(gone)).scalar_one_or_none()
    if object_id is None:
        raise asked.absent()
    await expire(session, object_id, db.now() + STILL_READ)


class Upload:
    """Writes one file. Until its last byte is stored nobody sees anything of it; then it replaces what was there.

    Args:
        limit: of its size, in bytes.
    """

    def __init__(self, database: Database, objects: Objects, limit: int) -> None:
        self._database = database
        self._objects = objects
        self._limit = limit
        self._size = 0
        self._text = Utf8()

    async def write(self, asked: Asked, chunks: AsyncIterator[bytes]) -> None:
        """Raises NotFound, Forbidden, TooLarge, RequestTimeout, and what `chunks` raises."""
        object_id = uuid4()
        async with self._database.transaction() as session:
            collection_id = await collections.ensure(session, asked)
            session.add(StoredObject(id=object_id, expires_at=db.now() + UPLOAD_AT_MOST))
        try:
            await self._objects.put(object_id, self._measured(chunks))
            async with self._database.transaction() as session:
                await self._take(session, asked, collection_id, object_id)
        except BaseException:
            await asyncio.shield(self._give_up(object_id))
            raise

    async def _measured(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._size += len(chunk)
            if self._size > self._limit:
                raise too_large(self._limit)
            self._text.feed(chunk)
            yield chunk

    async def _take(self, session: AsyncSession, asked: Asked, collection_id: UUID, object_id: UUID) -> None:
        """Make the object the file's."""
        held = await session.execute(
            select(Collection.id).where(Collection.id == collection_id).with_for_update(read=True, key_share=True)
        )
        if held.scalar_one_or_none() is None:
            raise asked.absent()
        # One writer of this file at a time, even while there is no row to lock.
        key = f"{collection_id}/{asked.path.file}"
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
        now = db.now()
        before = await session.execute(
            select(File.object_id).where(File.collection_id == collection_id, File.name == asked.path.file)
        )
        old = before.scalar_one_or_none()
        if not await expire(session, object_id, None):
            raise RequestTimeout("the file did not arrive within the time for it; send it again")
        values: dict[str, Any] = {
            "object_id": object_id,
            "size": self._size,
            "is_text": self._text.holds(),
            "modified_at": now,
            "expires_at": now + TEMPORARY if asked.path.is_temporary else None,
        }
        await session.execute(
            insert(File)
            .values(collection_id=collection_id, name=asked.path.file, **values)
            .on_conflict_do_update(index_elements=[File.collection_id, File.name], set_=values)
        )
        if old is not None:
            await expire(session, old, now + STILL_READ)

    async def _give_up(self, object_id: UUID) -> None:
        """What is stored of it may be removed. When the database does not answer, that is so in a while anyway."""
        with contextlib.suppress(Exception):
            async with self._database.transaction() as session:
                taken = select(File.object_id).where(File.object_id == object_id).exists()
                await session.execute(
                    update(StoredObject)
                    .where(StoredObject.id == object_id, ~taken)
                    .values(expires_at=db.now())
                    .execution_options(synchronize_session=False)
                )


class Utf8:
    """Whether bytes that come in parts are UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._broken = False

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        if self._broken:
            return
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError:
            self._broken = True

    def holds(self) -> bool:
        """That was all: is it?"""
        self.feed(b"", final=True)
        return not self._broken


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the file is larger than {limit} bytes, which is the limit here")


async def expire(session: AsyncSession, object_id: UUID, at: datetime | None) -> bool:
    """Say when the object may be removed; False when it is removed already."""
    statement = (
        update(StoredObject).where(StoredObject.id == object_id).values(expires_at=at).returning(StoredObject.id)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


def _lives(now: datetime) -> Any:
    return or_(File.expires_at.is_(None), File.expires_at > now)
