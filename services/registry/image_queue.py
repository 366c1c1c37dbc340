"""Work on images: it is for workers on one platform, and is done anew when somebody asks again."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.images import WORK_TRANSITIONS, ImageClaim, WorkState
from libs.common.db import now
from libs.common.problems import Conflict
from services.registry.models import ImageWork
from services.registry.work import Course, WorkQueue

W = TypeVar("W", bound=ImageWork)


class ImageQueue(WorkQueue[W]):
    course = Course(WORK_TRANSITIONS, WorkState.WANTED, WorkState.RUNNING, WorkState.READY, WorkState.FAILED)

    def claim(self, session: AsyncSession, row: W, asked: ImageClaim) -> str:
        """Give a locked row to a worker; the token of its lease.

        Raises Conflict when it is taken or finished, or for workers on another platform.
        """
        if asked.platform != row.platform:
            raise Conflict(f"{self._what} {row.id} is for {row.platform}, and this worker runs on {asked.platform}")
        return self.take(session, row, asked.worker)

    async def again(self, session: AsyncSession, row: W) -> W:
        """Have it done once more, unless it is under way."""
        row = await self.locked(session, row.id)
        if row.state in (WorkState.READY, WorkState.FAILED):
            self.release(session, row)
            row.attempts = 0
            row.reason = row.worker = row.started_at = row.finished_at = None
        return row

    async def still_wanted(self, session: AsyncSession, row: W) -> W:
        """Somebody waits for it: what failed a while ago is tried again."""
        due = now() - timedelta(seconds=self.patience.pause)
        if row.state is WorkState.FAILED and (row.finished_at is None or row.finished_at < due):
            return await self.again(session, row)
        return row
