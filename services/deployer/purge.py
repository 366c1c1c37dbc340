"""Forgetting what is over: replicas that ended, old events, deployments that nobody needs, workers that are gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, idempotency
from libs.common.contracts.replicas import TERMINAL
from libs.common.db import Database, after_commit
from libs.common.loops import Loop
from services.deployer import events
from services.deployer.hints import Hints
from services.deployer.models import Answered, Deployment, Replica, Worker
from services.deployer.settings import DeployerSettings
from services.deployer.states import LIVE

EVERY_SECONDS = 60.0


class Purge:
    """Runs once a minute, in one process at a time."""

    def __init__(
        self,
        database: Database,
        hints: Hints,
        settings: DeployerSettings,
        *,
        clock: Callable[[], datetime] = db.now,
    ) -> None:
        self._database = database
        self._hints = hints
        self._history = timedelta(seconds=settings.history_seconds)
        self._forget = timedelta(seconds=settings.forget_seconds)
        self._events_kept = settings.events_kept
        self._clock = clock
        self.loop = Loop("purge", self.once, every=EVERY_SECONDS)

    async def once(self) -> None:
        """Forget what is old enough. Nothing that is live, needed or planned."""
        now = self._clock()
        async with self._database.transaction() as session:
            free = await session.execute(select(func.pg_try_advisory_xact_lock(func.hashtext("deployer-purge"))))
            if not free.scalar_one():
                return
            await session.execute(
                delete(Replica).where(Replica.state.in_(TERMINAL), Replica.since < now - self._history)
            )
            await events.prune(session, since=now - timedelta(seconds=10 * EVERY_SECONDS), keep=self._events_kept)
            await idempotency.purge(session, Answered, now)
            await self._forget_deployments(session, now)
            await self._forget_workers(session, now)

    async def _forget_deployments(self, session: AsyncSession, now: datetime) -> None:
        unneeded = (
            select(Deployment.id)
            .where(
                Deployment.due_at.is_(None),
                Deployment.route.is_(None),
                Deployment.changed_at < now - self._forget,
                ~exists().where(Replica.deployment_id == Deployment.id, Replica.state.in_(LIVE)),
            )
            .order_by(Deployment.id)
            .with_for_update(skip_locked=True)
        )
        ids = (await session.execute(unneeded)).scalars().all()
        if ids:
            await session.execute(delete(Deployment).where(Deployment.id.in_(ids)))

    async def _forget_workers(self, session: AsyncSession, now: datetime) -> None:
        silent = (
            select(Worker.id)
            .where(
                Worker.lease_until < now - self._forget,
                ~exists().where(Replica.worker_id == Worker.id, Replica.state.in_(LIVE)),
            )
            .order_by(Worker.id)
            .with_for_update(skip_locked=True)
        )
        for worker_id in (await session.execute(silent)).scalars().all():
            await session.execute(delete(Worker).where(Worker.id == worker_id))
            after_commit(session, lambda gone=worker_id: self._hints.forget(gone))  # type: ignore[misc]
