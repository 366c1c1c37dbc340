"""Workers, as administrators see and change them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import NotFound
from services.deployer import store
from services.deployer.models import Replica, Worker
from services.deployer.states import LIVE


async def find(session: AsyncSession, worker_id: str, *, lock: bool = False) -> Worker:
    """One worker. Raises NotFound."""
    row = await session.get(Worker, worker_id, with_for_update=lock or None, populate_existing=lock)
    if row is None:
        raise NotFound(f"there is no worker '{worker_id}'")
    return row


async def set_draining(session: AsyncSession, worker_id: str, draining: bool, now: datetime) -> tuple[Worker, bool]:
    """Empty the node, or let it take replicas again. Also says whether that is a change. Raises NotFound."""
    row = await find(session, worker_id, lock=True)
    changed = row.draining != draining
    if changed:
        row.draining = draining
        await session.flush()
        there = (
            select(Replica.deployment_id).where(Replica.worker_id == worker_id, Replica.state.in_(LIVE)).distinct()
        )
        await store.make_due(session, set((await session.execute(there)).scalars()), now)
        if not draining:
            await store.make_pending_due(session, now)
    return row, changed
