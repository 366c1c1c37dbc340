"""Work that waits in rows and is done by workers, each of which holds a lease on its row meanwhile.

    ask -> job -> claim -> lease ... lease -> end, well or not

The row says what is to be done; the job on the bus is a hint that it waits. One loop sends jobs, and sends them again
when nobody came; another one takes work back from workers that fell silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.bus import Bus, BusUnavailable
from libs.common.contracts.messages import Message
from libs.common.db import Database, after_commit, now
from libs.common.lease import new_token
from libs.common.loops import Loop
from libs.common.problems import Conflict, NotFound
from libs.common.states import step
from services.registry.models import Work

log = logs.get(__name__)

HINT_SECONDS = 30.0
MAX_HINT_SECONDS = 600.0
REFUSED_SECONDS = 10.0
"""Until a queue that took no job is tried again."""
SHORTEST_GAP_SECONDS = 5.0
_BATCH = 100

W = TypeVar("W", bound=Work)


@dataclass(frozen=True)
class Course:
    """The states of one kind of work."""

    transitions: Mapping[Any, frozenset[Any]]
    waits: StrEnum
    runs: StrEnum
    done: StrEnum
    failed: StrEnum


@dataclass(frozen=True)
class Patience:
    """Times in seconds."""

    lease: float
    """A worker that is silent for longer loses its work to another one."""
    attempts: int
    """How many workers may be lost over one piece of work before it fails."""
    timeout: float
    """For a worker to do it."""
    pause: float = 0.0
    """Before what failed is tried again for somebody who still waits for it."""


class Watch:
    """Since when workers could have renewed leases here. A gap makes their silence mean nothing.

    Args:
        gap: two looks that are further apart than so many seconds have a gap between them: the process or the
            database stood still.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._last: float | None = None
        self.since = 0.0

    def look(self, moment: float) -> float:
        """Note that the rows could be read just now; for how many seconds that has been so."""
        if self._last is None or moment - self._last > self._gap:
            self.since = moment
        self._last = moment
        return moment - self.since


class WorkQueue(Generic[W]):
    """The rows of one table, and the loops that bring them on."""

    course: ClassVar[Course]

    def __init__(
        self,
        table: type[W],
        what: str,
        *,
        database: Database,
        bus: Bus,
        job: Callable[[W], tuple[str, Message]],
        patience: Patience,
    ) -> None:
        """
        Args:
            what: what a row is, for people: `image`.
            job: the queue and the message that hint at a row.
        """
        self._table = table
        self._what = what
        self._database = database
        self._bus = bus
        self._job = job
        self.patience = patience
        self.watch = Watch(max(patience.lease / 2, SHORTEST_GAP_SECONDS))
        self.loop = Loop(f"{what} work", self.hint_all, every=2.0)
        self.leases = Loop(f"{what} leases", self.take_back, every=2.0)

    def loops(self) -> list[Loop]:
        """All that runs in the background. A bus that is slow keeps nobody from looking at leases."""
        return [self.loop, self.leases]

    async def find(self, session: AsyncSession, row_id: UUID) -> W | None:
        """The row as it is now, locked until the transaction ends."""
        return await session.get(self._table, row_id, with_for_update={"key_share": True}, populate_existing=True)

    async def locked(self, session: AsyncSession, row_id: UUID) -> W:
        """As `find`. Raises NotFound."""
        row = await self.find(session, row_id)
        if row is None:
            raise NotFound(f"there is no {self._what} {row_id}")
        return row

    def wanted(self, session: AsyncSession) -> None:
        """A new row waits."""
        after_commit(session, self.loop.wake)

    def take(self, session: AsyncSession, row: W, worker: str) -> str:
        """Give a locked row to a worker; the token of its lease. Raises Conflict when it is taken or finished."""
        if row.state is not self.course.waits:
            raise Conflict(f"{self._what} {row.id} is {row.state}")
        self._step(session, row, self.course.runs)
        token = row.lease_token = new_token()
        row.lease_until = now() + timedelta(seconds=self.patience.lease)
        row.started_at, row.worker, row.attempts = now(), worker, row.attempts + 1
        return token

    def renew(self, row: W | None, token: str) -> W:
        """The locked row, whose lease goes on. Raises Conflict when `token` does not hold it."""
        held = self.held(row, token)
        held.lease_until = now() + timedelta(seconds=self.patience.lease)
        return held

    def held(self, row: W | None, token: str) -> W:
        """The row, when `token` holds the lease on it. Raises Conflict."""
        if row is None or row.state is not self.course.runs or row.lease_token != token:
            raise Conflict(f"the lease on this {self._what} is lost: drop the work")
        return row

    def end(self, session: AsyncSession, row: W, reason: str | None) -> None:
        """It is ready, or failed for a reason."""
        self._step(session, row, self.course.done if reason is None else self.course.failed)
        row.reason, row.finished_at, row.lease_until = reason, now(), None
        log.info("work_ended", what=self._what, row=str(row.id), state=row.state.value, reason=reason)

    def release(self, session: AsyncSession, row: W) -> None:
        """It waits for a worker again."""
        self._step(session, row, self.course.waits)
        row.lease_token = row.lease_until = row.next_hint_at = None
        row.hints = 0

    def lost(self, session: AsyncSession, row: W) -> str:  # noqa: ARG002 - for what writes it down
        """Why a row whose worker fell silent fails, if no other worker is to try."""
        return f"worker {row.worker} was lost while it had this {self._what}, for the {row.attempts}. time"

    def waiting(self) -> ColumnElement[bool]:
        """SQL condition: workers can have the row."""
        return self._table.state == self.course.waits

    async def take_back(self) -> None:
        """What a worker had that fell silent waits again, or fails when that happened too often.

        Nobody could renew a lease while no registry was there, so a process first listens for as long as one lasts.
        """
        async with self._database.transaction() as session:
            query = (
                select(self._table)
                .where(self._table.state == self.course.runs, self._table.lease_until < now())
                .order_by(self._table.number)
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            rows: Sequence[W] = (await session.execute(query)).scalars().all()
            if self.watch.look(time.monotonic()) < self.patience.lease:
                return
            for row in rows:
                log.warning("work_lost", what=self._what, row=str(row.id), worker=row.worker, attempt=row.attempts)
                reason = self.lost(session, row)
                if row.attempts < self.patience.attempts:
                    self.release(session, row)
                else:
                    self.end(session, row, reason)

    async def hint_all(self) -> None:
        """Send the job of each row that waits: at once, and again with growing pauses while nobody comes."""
        async with self._database.transaction() as session:
            query = (
                select(self._table)
                .where(self.waiting(), or_(self._table.next_hint_at.is_(None), self._table.next_hint_at < now()))
                .order_by(self._table.number)
                .limit(_BATCH)
            )
            waiting: Sequence[W] = (await session.execute(query)).scalars().all()
        refused: dict[str, BusUnavailable] = {}
        for row in waiting:
            queue, job = self._job(row)
            try:
                if queue not in refused:
                    await self._bus.send(queue, job)
            except BusUnavailable as error:
                refused[queue] = error
            if queue in refused:
                await self._hinted(row, hints=row.hints, pause=REFUSED_SECONDS)
            else:
                await self._hinted(row, hints=row.hints + 1, pause=hint_pause(row.hints))
        if refused:
            raise BusUnavailable("; ".join(f"{queue}: {error}" for queue, error in refused.items()))

    async def _hinted(self, row: W, *, hints: int, pause: float) -> None:
        """Not again before the pause is over: what waits behind it has its turn."""
        again = now() + timedelta(seconds=pause)
        statement = update(self._table).where(self._table.id == row.id, self.waiting())
        async with self._database.transaction() as session:
            await session.execute(statement.values(hints=hints, next_hint_at=again))

    def _step(self, session: AsyncSession, row: W, state: StrEnum) -> None:
        row.state = step(self.course.transitions, row.state, state)
        after_commit(session, self.loop.wake)


def hint_pause(hints: int) -> float:
    """Seconds until a job is sent again that was sent `hints` times before."""
    return float(min(HINT_SECONDS * 2 ** min(hints, 10), MAX_HINT_SECONDS))
