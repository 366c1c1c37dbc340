"""Versioned feeds: publishing them from rows, and following them (`libs.common.contracts.feeds`).

The publisher writes a key's body in the transaction that changes the entity. The row of the feed's version is
updated first and stays locked until the commit, so versions become visible in their order and a reader that has
seen version N has seen all before it. Rows that were restored are another history: when a follower knows more of a
feed than they do, and where an operator says so (`docs/howto/restore-a-database.md`), all start again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import orjson
from sqlalchemy import BigInteger, String, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db, logs
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.db import Database, after_commit
from libs.common.loops import Loop

log = logs.get(__name__)

PAGE = 1000
MAX_WAIT = 30.0
SAVE_SECONDS = 2.0
"""A copy is written to disk at most this often."""
KEEP_ENDS = timedelta(days=7)
"""How long it is told that a key is gone, at least; at most twice as long."""


class FeedVersionColumns:
    """Table `feed_versions`: one row per feed."""

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    epoch: Mapped[str] = mapped_column(String(36))
    version: Mapped[int] = mapped_column(BigInteger)
    floor: Mapped[int] = mapped_column(BigInteger, default=0)
    """Keys that were gone by this version have no row any more."""
    mark: Mapped[int] = mapped_column(BigInteger, default=0)
    """The version at the time below: what was gone by then is forgotten next."""
    marked_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)


class FeedEntryColumns:
    """Table `feed_entries`: the newest body of each key; null where the key is gone."""

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, index=True)
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class FeedPublisher:
    """Writes and serves the feeds of one service.

    Args:
        versions, entries: the service's mapped classes with the columns above.
    """

    def __init__(
        self, database: Database, versions: type[FeedVersionColumns], entries: type[FeedEntryColumns]
    ) -> None:
        self._database = database
        self._versions = versions
        self._entries = entries
        self._known: dict[str, int] = {}
        self._epochs: dict[str, str] = {}
        self._waiting = 0
        self._changed = asyncio.Event()
        self._released = False
        self.loop = Loop("feed_versions", self._look, every=0.4)
        """Notices what other instances of the service published. Run it with the service's loops."""
        self.forgetting = Loop("feed_ends", self.forget_ends, every=3600.0)
        """Run it too, so that keys which come and go leave no rows for ever."""

    async def publish(self, session: AsyncSession, name: str, key: str, body: Mapping[str, Any] | None) -> None:
        """Set the body of a key (None removes it) in the session's transaction. No change, no new version."""
        entries = self._entries
        newest = await self.lock(session, name)
        same = await session.execute(select(entries.body).where(entries.name == name, entries.key == key))
        if same.scalar_one_or_none() == body:
            return
        version = newest + 1
        await session.execute(update(self._versions).where(self._versions.name == name).values(version=version))
        statement = insert(entries).values(name=name, key=key, version=version, body=body)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["name", "key"], set_={"version": version, "body": statement.excluded.body}
            )
        )
        after_commit(session, lambda: self._tell(name, version))

    async def page(self, name: str, *, since: int, epoch: str = "", wait: float = 0.0) -> FeedPage:
        """Changes after `since`, waiting up to `wait` seconds (at most 30) for the first."""
        end = time.monotonic() + min(wait, MAX_WAIT)
        while True:
            changed = self._changed
            page = await self._read(name, since, epoch)
            left = end - time.monotonic()
            behind = page.epoch != epoch or since < page.floor
            if page.changes or behind or left <= 0 or self._released:
                return page
            self._waiting += 1
            try:
                async with asyncio.timeout(left):
                    await changed.wait()
            except TimeoutError:
                return page
            finally:
                self._waiting -= 1

    def release(self) -> None:
        """The service stops: answer everyone who waits, and let nobody wait any more."""
        self._released = True
        self._changed.set()

    async def forget_ends(self, now: datetime | None = None) -> None:
        """Forget which keys were gone a while ago. Idempotent, and safe at several instances at once."""
        versions, entries, now = self._versions, self._entries, now or db.now()
        due = versions.marked_at <= now - KEEP_ENDS
        async with self._database.transaction() as session:
            names = (await session.scalars(select(versions.name).where(due))).all()
        for name in names:
            async with self._database.transaction() as session:
                head = await session.scalar(select(versions).where(versions.name == name, due).with_for_update())
                if head is None:
                    continue
                gone = delete(entries).where(
                    entries.name == name, entries.body.is_(None), entries.version <= head.mark
                )
                if (await session.execute(gone.returning(entries.key))).first() is not None:
                    head.floor = head.mark
                head.mark, head.marked_at = head.version, now

    async def lock(self, session: AsyncSession, name: str) -> int:
        """The feed's version, its row locked until the commit.

        `publish` does it. Who publishes what it read from rows that others change locks first and then reads: it sees
        all that was published before, and nobody else publishes until it has committed.
        """
        versions = self._versions
        locking = select(versions.version).where(versions.name == name).with_for_update()
        locked = (await session.execute(locking)).scalar_one_or_none()
        if locked is None:
            first = insert(versions).values(name=name, epoch=str(uuid4()), version=0)
            await session.execute(first.on_conflict_do_nothing())
            locked = (await session.execute(locking)).scalar_one()
        return locked

    async def _read(self, name: str, since: int, epoch: str) -> FeedPage:
        versions, entries = self._versions, self._entries
        async with self._database.transaction() as session:
            head = (await session.execute(select(versions).where(versions.name == name))).scalar_one_or_none()
            if head is None:
                return FeedPage(epoch="", version=0)
            if epoch == head.epoch and since > head.version:
                head = await self._begin_anew(session, head, since)
            if epoch != head.epoch:
                since = 0
            rows = (
                await session.execute(
                    select(entries.key, entries.version, entries.body, versions.floor)
                    .join(versions, versions.name == entries.name)
                    .where(entries.name == name, entries.version > since)
                    .order_by(entries.version)
                    .limit(PAGE)
                )
            ).all()
        changes = tuple(
            FeedChange(key=r.key, version=r.version, body=r.body) for r in rows if r.body is not None or since > 0
        )
        more = len(rows) == PAGE
        floor = rows[-1].floor if rows else head.floor  # as it was when those rows were read
        version = rows[-1].version if rows else max(since, 0)
        return FeedPage(
            epoch=head.epoch,
            version=version if more else max(version, floor),
            changes=changes,
            floor=floor,
            more=more,
        )

    async def _begin_anew(self, session: AsyncSession, head: FeedVersionColumns, since: int) -> FeedVersionColumns:
        """A follower has seen a version that was never published: the rows were set back, by a restore or because a
        standby that lagged took over. What follows is another history, so it gets a new epoch."""
        versions = self._versions
        set_back = (versions.name == head.name, versions.epoch == head.epoch, versions.version < since)
        await session.execute(update(versions).where(*set_back).values(epoch=str(uuid4())))
        await session.refresh(head)
        log.warning("feed_was_set_back", feed=head.name, version=head.version, followed=since)
        after_commit(session, self._wake)
        return head

    async def _look(self) -> None:
        if not self._waiting:
            return
        async with self._database.transaction() as session:
            rows = (await session.scalars(select(self._versions))).all()
        known, epochs = {row.name: row.version for row in rows}, {row.name: row.epoch for row in rows}
        if (known, epochs) != (self._known, self._epochs):
            self._known, self._epochs = known, epochs
            self._wake()

    def _tell(self, name: str, version: int) -> None:
        """What was just published here is committed."""
        self._known[name] = max(version, self._known.get(name, 0))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Fetch(Protocol):
    async def __call__(self, *, since: int, epoch: str, wait: float) -> FeedPage: ...


Apply = Callable[[str, dict[str, Any] | None], None]


class FeedFollower:
    """A local copy of one feed: kept fresh by long polls, and on disk for a start without its publisher.

    Args:
        name: the feed's.
        fetch: asks the publisher for a page.
        apply: told of every change, `(key, body or None)`, in order; on a new epoch first of every key's end.
        snapshot: file that keeps the copy (mode 0600), or None.
    """

    def __init__(self, name: str, fetch: Fetch, apply: Apply, *, snapshot: Path | None = None) -> None:
        self.name = name
        self._fetch = fetch
        self._apply = apply
        self._snapshot = snapshot
        self._saved = (0, "")
        self._next_save = 0.0
        self._saving: asyncio.TimerHandle | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.entries: dict[str, dict[str, Any]] = {}
        self.epoch = ""
        self.version = 0
        self._floor = 0
        self.ready = asyncio.Event()
        """Set once there is a copy, from the publisher or from disk."""
        self.complete = False
        """The copy is whole. It is not while a first copy, or that of a new epoch, is still arriving in pages."""
        self.fresh_at: float | None = None
        """Monotonic time of the last answer of the publisher."""

    def load(self) -> bool:
        """Take the copy on disk. A missing or broken file is no copy: the publisher has the truth."""
        if self._snapshot is None:
            return False
        try:
            saved = orjson.loads(self._snapshot.read_bytes())
            version, epoch, entries = int(saved["version"]), str(saved["epoch"]), dict(saved["entries"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        for key, body in entries.items():
            self._set(key, body)
        self.version, self.epoch = version, epoch
        self._saved = (version, epoch)
        self.complete = True
        self.ready.set()
        return True

    async def run(self, *, wait: float = 25.0) -> None:
        """Follow until cancelled."""
        try:
            await self._follow(wait)
        finally:
            if self._saving is not None:
                self._saving.cancel()
                self._saving = None

    async def _follow(self, wait: float) -> None:
        failures = 0
        while True:
            asked = time.monotonic()
            patience = 0.0 if failures or not self.complete else wait  # an empty first copy is one, too
            since, epoch = self.version, self.epoch
            try:
                page = await self._fetch(since=since, epoch=epoch, wait=patience)
            except Exception as error:  # whatever the publisher or the way to it has: the copy stays
                failures += 1
                level = log.warning if failures in (1, 10) else log.debug
                level("feed_unreachable", feed=self.name, reason=repr(error), failures=failures)
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 6), 3.0))
                continue
            recovered, failures = failures > 0, 0
            async with self._lock:
                self._take(page, since, epoch)
            self._save_soon()
            if not (page.changes or recovered) and time.monotonic() - asked < min(wait, 0.1):
                await asyncio.sleep(0.2)  # a publisher that is stopping does not let anybody wait

    async def refresh(self, *, timeout: float = 2.0) -> bool:
        """Catch up now. Many callers share one question. False when the publisher does not answer in time."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._catch_up())
        try:
            await asyncio.wait_for(asyncio.shield(self._refreshing), timeout)
        except Exception:  # the caller goes on with the copy it has
            return False
        return True

    def save(self) -> None:
        """Write the copy to disk, whole or not at all: a copy that is still arriving is not written."""
        if self._snapshot is None or not self.complete or self._saved == (self.version, self.epoch):
            return
        document = {"version": self.version, "epoch": self.epoch, "entries": self.entries}
        part = self._snapshot.with_suffix(".part")
        with contextlib.suppress(OSError):
            self._snapshot.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(document))
            part.replace(self._snapshot)
            self._saved = (self.version, self.epoch)

    async def _catch_up(self) -> None:
        more = True
        while more:
            since, epoch = self.version, self.epoch
            page = await self._fetch(since=since, epoch=epoch, wait=0.0)
            async with self._lock:
                self._take(page, since, epoch)
            more = not self.complete

    def _take(self, page: FeedPage, since: int, epoch: str) -> None:
        """Take the answer to the question for what came after `since` of `epoch`."""
        if page.epoch == epoch and (self.epoch != epoch or self.version < since):
            return  # what came after a copy that was given up meanwhile, upon the answer to somebody else's question
        if page.epoch == self.epoch and page.floor > max(self.version, self._floor):
            # Away for so long that keys may be gone which the publisher has forgotten: of that page nothing is taken,
            # the next one is the first of a copy. While a first copy arrives, its floor is where it began.
            page = FeedPage(epoch="", version=0, more=True)
        if page.epoch != self.epoch:
            for key in list(self.entries):
                self._set(key, None)
            self.epoch, self.version, self._floor = page.epoch, 0, page.floor
            self.complete = False
        if page.version >= self.version:
            for change in page.changes:
                if change.version > self.version:
                    self._set(change.key, change.body)
            self.version = page.version
        self.fresh_at = time.monotonic()
        if not page.more:
            self.complete = True
            self.ready.set()

    def _set(self, key: str, body: dict[str, Any] | None) -> None:
        if body is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = body
        try:
            self._apply(key, body)
        except Exception:
            log.exception("feed_entry_refused", feed=self.name, key=key)

    def _save_soon(self) -> None:
        """At once, or as soon as the last time is long enough ago: what comes meanwhile is saved with it."""
        if self._saving is None:
            pause = max(self._next_save - time.monotonic(), 0.0)
            self._saving = asyncio.get_running_loop().call_later(pause, self._save_now)

    def _save_now(self) -> None:
        self._saving = None
        self._next_save = time.monotonic() + SAVE_SECONDS
        self.save()
