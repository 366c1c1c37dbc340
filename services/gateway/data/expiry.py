"""What is over goes: sessions of calls that have ended, temporary files, and bytes that are no file's any more.

Every gateway does this. Each ends the sessions of its own calls, as it alone knows which have ended; those of a
gateway that died end at a time after which no call can still run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, logs
from libs.common.blobs import Objects, StoreFailed
from libs.common.db import Database
from libs.common.loops import Loop
from services.gateway.calls import Calls
from services.gateway.data import collections
from services.gateway.data.paths import session_collection
from services.gateway.models import Collection, File, StoredObject

log = logs.get(__name__)

EVERY_SECONDS = 2.0
_BATCH = 100
_MOST_REFUSED = 3
"""A store that does not remove one object may remove others; one that is away takes long to refuse each."""
_LATER = timedelta(hours=1)
"""Until an object is tried again that the store did not remove."""


class Expiry:
    """Args:
    calls: those of this gateway.
    """

    def __init__(
        self, database: Database, objects: Objects, calls: Calls, *, clock: Callable[[], datetime] = db.now
    ) -> None:
        self._database = database
        self._objects = objects
        self._calls = calls
        self._clock = clock
        self.loop = Loop("hosted_data_expiry", self.once, every=EVERY_SECONDS)

    async def once(self) -> None:
        """Remove all that is over now. Raises StoreFailed when the store did not remove something."""
        now = self._clock()
        async with self._database.transaction() as session:
            await self._end_sessions(session, now)
            await self._end_files(session, now)
        while await self._remove_objects(now) == _BATCH:
            pass

    async def _end_sessions(self, session: AsyncSession, now: datetime) -> None:
        mine = Collection.name.startswith(session_collection(self._calls.id_prefix))
        query = select(Collection.id, Collection.name).where(or_(mine, Collection.expires_at < now))
        found = (await session.execute(query.with_for_update(skip_locked=True))).all()
        # Asked after the rows were read: a call whose session has a row has begun by now.
        alive = {session_collection(request_id) for request_id in self._calls.top_level()} if found else set()
        for collection_id, name in found:
            if name not in alive:
                await collections.drop(session, collection_id)

    async def _end_files(self, session: AsyncSession, now: datetime) -> None:
        over = select(File.object_id).where(File.expires_at < now).limit(_BATCH).with_for_update(skip_locked=True)
        ids = (await session.execute(over)).scalars().all()
        if ids:
            await session.execute(delete(File).where(File.object_id.in_(ids)))
            await session.execute(update(StoredObject).where(StoredObject.id.in_(ids)).values(expires_at=now))

    async def _remove_objects(self, now: datetime) -> int:
        """Remove some; returns how many."""
        async with self._database.transaction() as session:
            over = (
                select(StoredObject.id)
                .where(StoredObject.expires_at <= now)
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            removed, refused = await self._remove((await session.execute(over)).scalars())
            if removed:
                await session.execute(delete(StoredObject).where(StoredObject.id.in_(removed)))
            if refused:
                later = update(StoredObject).where(StoredObject.id.in_(refused)).values(expires_at=now + _LATER)
                await session.execute(later)
        if refused:
            raise StoreFailed(f"the object store did not remove {len(refused)} of what is over")
        return len(removed)

    async def _remove(self, ids: Iterable[UUID]) -> tuple[list[UUID], list[UUID]]:
        """What the store has removed, and what not."""
        removed: list[UUID] = []
        refused: list[UUID] = []
        for object_id in ids:
            try:
                await self._objects.remove(object_id)
            except StoreFailed as error:
                log.warning("object_not_removed", object=str(object_id), reason=logs.redact(str(error.__cause__)))
                refused.append(object_id)
                if len(refused) == _MOST_REFUSED:
                    break
            else:
                removed.append(object_id)
        return removed, refused
