"""Work that waits in rows and is done by workers, each of which holds a lease on its row meanwhile.

    ask -> job -> claim -> lease ... lease -> end, well or not -> ask again

The row says what is to be done; the job on the bus is a hint that it waits. A loop (`reconcile`) sends jobs, sends
them again when nobody came, and takes work back from workers that fell silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.bus import Bus
from libs.common.contracts.images import WORK_TRANSITIONS, ImageClaim, WorkState
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
_BATCH = 100

W = TypeVar("W", bound=Work)


@dataclass(frozen=True)
class Patience:
    """Times in seconds."""

    lease: float
    """A worker that is silent for longer loses its work to another one."""
    attempts: int
    """How many workers may be lost over one piece of work before it fails."""
    timeout: float
    """For a worker to do it."""
    pause: float
    """Before what failed is tried again for somebody who still waits for it."""


class WorkQueue(Generic[W]):
    """The rows of one table, and the loop that brings them on."""

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
        self.loop = Loop(f"{what} work", self.reconcile, every=2.0)

    async def locked(self, session: AsyncSession, row_id: UUID) -> W:
        """The row as it is now, locked until the transaction ends. Raises NotFound."""
        row = await session.get(self._table, row_id, with_for_update={"key_share": True}, populate_existing=True)
        if row is None:
            raise NotFound(f"there is no {self._what} {row_id}")
        return row

    def wanted(self, session: AsyncSession) -> None:
        """A new row waits."""
        after_commit(session, self.loop.wake)

    async def again(self, session: AsyncSession, row: W) -> W:
        """Have it done once more, unless it is under way."""
        row = await self.locked(session, row.id)
        if row.state in (WorkState.READY, WorkState.FAILED):
            self._step(session, row, WorkState.WANTED)
            row.attempts = 0
            row.reason = row.worker = row.started_at = row.finished_at = None
            self._release(row)
        return row

    async def still_wanted(self, session: AsyncSession, row: W) -> W:
        """Somebody waits for it: what failed a while ago is tried again."""
        due = now() - timedelta(seconds=self.patience.pause)
        if row.state is WorkState.FAILED and (row.finished_at is None or row.finished_at < due):
            return await self.again(session, row)
        return row

    def claim(self, session: AsyncSession, row: W, asked: ImageClaim) -> str:
        """Give a locked row to a worker; the token of its lease.

        Raises Conflict when it is taken or finished, or for workers on another platform.
        """
        if asked.platform != row.platform:
            raise Conflict(f"{self._what} {row.id} is for {row.platform}, and this worker runs on {asked.platform}")
        if row.state is not WorkState.WANTED:
            raise Conflict(f"{self._what} {row.id} is {row.state}")
        self._step(session, row, WorkState.RUNNING)
        token = row.lease_token = new_token()
        row.lease_until = now() + timedelta(seconds=self.patience.lease)
        row.started_at, row.worker, row.attempts = now(), asked.worker, row.attempts + 1
        return token

    async def renew(self, session: AsyncSession, row_id: UUID, token: str) -> None:
        """Raises Conflict when the lease is lost, NotFound when the row is gone."""
        row = self.held(await self.locked(session, row_id), token)
        row.lease_until = now() + timedelta(seconds=self.patience.lease)

    def held(self, row: W, token: str) -> W:
        """The row, when `token` holds the lease on it. Raises Conflict."""
        if row.state is not WorkState.RUNNING or row.lease_token != token:
            raise Conflict(f"the lease on this {self._what} is lost: drop the work")
        return row

    def end(self, session: AsyncSession, row: W, reason: str | None) -> None:
        """It is ready, or failed for a reason."""
        self._step(session, row, WorkState.READY if reason is None else WorkState.FAILED)
        row.reason, row.finished_at, row.lease_until = reason, now(), None
        log.info("work_ended", what=self._what, row=str(row.id), state=row.state.value, reason=reason)

    async def reconcile(self) -> None:
        """Bring every row on: hint, or take back."""
        await self._take_back()
        await self._hint_all()

    async def _take_back(self) -> None:
        """What a worker had that fell silent waits again, or fails when that happened too often."""
        async with self._database.transaction() as session:
            query = (
                select(self._table)
                .where(self._table.state == WorkState.RUNNING, self._table.lease_until < now())
                .order_by(self._table.number)
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            rows: Sequence[W] = (await session.execute(query)).scalars().all()
            for row in rows:
                lost = f"worker {row.worker} was lost while it had this {self._what}"
                log.warning("work_lost", what=self._what, row=str(row.id), worker=row.worker, attempt=row.attempts)
                if row.attempts < self.patience.attempts:
                    self._step(session, row, WorkState.WANTED)
                    self._release(row)
                else:
                    self.end(session, row, f"{lost}, for the {row.attempts}. time")

    async def _hint_all(self) -> None:
        """Send the job of each row that waits: at once, and again with growing pauses while nobody comes."""
        async with self._database.transaction() as session:
            query = (
                select(self._table)
                .where(
                    self._table.state == WorkState.WANTED,
                    or_(self._table.next_hint_at.is_(None), self._table.next_hint_at < now()),
                )
                .order_by(self._table.number)
                .limit(_BATCH)
            )
            waiting: Sequence[W] = (await session.execute(query)).scalars().all()
        for row in waiting:
            await self._bus.send(*self._job(row))
            again = now() + timedelta(seconds=hint_pause(row.hints))
            sent = update(self._table).where(self._table.id == row.id, self._table.state == WorkState.WANTED)
            async with self._database.transaction() as session:
                await session.execute(sent.values(hints=row.hints + 1, next_hint_at=again))

    @staticmethod
    def _release(row: W) -> None:
        row.lease_token = row.lease_until = row.next_hint_at = None
        row.hints = 0

    def _step(self, session: AsyncSession, row: W, state: WorkState) -> None:
        row.state = step(WORK_TRANSITIONS, row.state, state)
        after_commit(session, self.loop.wake)


def hint_pause(hints: int) -> float:
    """Seconds until a job is sent again that was sent `hints` times before."""
    return float(min(HINT_SECONDS * 2 ** min(hints, 10), MAX_HINT_SECONDS))
