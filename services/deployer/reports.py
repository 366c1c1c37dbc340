"""Reports of workers: what runs on a node changes our rows, and our rows are its orders.

A worker that is silent for a lease loses its replicas to others (`plan.py`). When it comes back they have ended here,
so its orders do not name them, and it stops them: nothing runs twice for long, and nothing that ended is routed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.contracts.replicas import (
    TERMINAL,
    ReplicaOrder,
    ReplicaReport,
    ReplicaSpec,
    ReplicaState,
    WorkerOrders,
    WorkerReport,
)
from libs.common.db import after_commit
from libs.common.text import storable
from services.deployer import replicas, store
from services.deployer.models import Replica, Worker
from services.deployer.routes import Routes
from services.deployer.states import LIVE, follows

log = logs.get(__name__)

_TO_PLAN = TERMINAL | {ReplicaState.READY, ReplicaState.DRAINING}
"""States that may call for something else to be done."""


class Reports:
    """Takes reports.

    Args:
        lease: how long a report keeps its worker alive.
        wake: makes the planner look at what is due.
    """

    def __init__(self, routes: Routes, *, lease: timedelta, wake: Callable[[], None]) -> None:
        self._routes = routes
        self._lease = lease
        self._wake = wake

    async def take(self, session: AsyncSession, worker_id: str, report: WorkerReport, now: datetime) -> WorkerOrders:
        """Take a report; the answer is all that should run there."""
        taken, found_room = await self._renew(session, worker_id, report, now)
        rows = await _on_worker(session, worker_id)
        if taken and (changes := differences(rows, report)):
            deployment_ids = {row.id: row.deployment_id for row in rows}
            found_room = await self._apply(session, changes, deployment_ids, now) or found_room
            rows = await _on_worker(session, worker_id)
        if found_room and await store.make_pending_due(session, now):
            after_commit(session, self._wake)
        return WorkerOrders(
            replicas=tuple(
                ReplicaOrder(spec=ReplicaSpec.model_validate(row.spec), drain=row.drain_requested) for row in rows
            ),
            lease_seconds=self._lease.total_seconds(),
        )

    async def _renew(
        self, session: AsyncSession, worker_id: str, report: WorkerReport, now: datetime
    ) -> tuple[bool, bool]:
        """Write the worker down and lock its row: is the report to be taken, and does it offer new room?

        A report that a later one overtook is not taken, be it of the same run of the worker's process or of the next
        one. Reports do not take as long as a lease: a run that is still heard then is the present one after all.
        """
        words = _words(report)
        row = await session.get(Worker, worker_id, with_for_update=True)
        if row is None:
            fresh = insert(Worker).values(id=worker_id, lease_until=now + self._lease, joined_at=now, **words)
            await session.execute(fresh.on_conflict_do_nothing())
            await session.get_one(Worker, worker_id, with_for_update=True)
            return True, True
        lapsed = row.lease_until < now
        repeated = row.run == report.run and report.sequence <= row.sequence
        if report.run and (repeated or (row.former_run == report.run and not lapsed)):
            log.info("report_overtaken", worker_id=worker_id, sequence=report.sequence, known=row.sequence)
            return False, False
        offered = _offer(row)
        if row.run != report.run:
            row.former_run = row.run
        for name, value in words.items():
            setattr(row, name, value)
        row.lease_until = now + self._lease
        await session.flush()
        return True, lapsed or offered != _offer(row)

    async def _apply(
        self,
        session: AsyncSession,
        changes: Sequence[ReplicaReport],
        deployment_ids: dict[UUID, UUID],
        now: datetime,
    ) -> bool:
        """Bring the rows up to date. They are read again once they are locked, for they may have changed.

        True when a replica ended, which leaves room.
        """
        deployments = await store.lock(session, {deployment_ids[change.id] for change in changes})
        live = await store.live_replicas(session, deployments.keys())
        by_id = {row.id: row for rows in live.values() for row in rows}
        moved = set()
        for change in changes:
            row = by_id.get(change.id)
            if row is None:
                continue  # it ended meanwhile
            if change.address is not None:
                row.address = change.address.model_dump(mode="json", exclude_none=True)
            if row.state is not change.state:
                deployment = deployments[row.deployment_id]
                replicas.move(session, deployment, row, change.state, now, reason=change.reason)
                moved.add(change.state)
                deployment.due_at = now if change.state in _TO_PLAN else deployment.due_at
        await session.flush()
        await self._routes.publish(session, deployments.values(), _still_live(live), now)
        if moved & _TO_PLAN:
            after_commit(session, self._wake)
        return bool(moved & TERMINAL)


def differences(rows: Sequence[Replica], report: WorkerReport) -> list[ReplicaReport]:
    """What a report says that the rows of its worker's live replicas do not.

    A replica that is not named is gone, unless it was never taken up: its order may be on its way. One that is named
    but is none of these has ended here; its worker learns that from its orders.
    """
    reported = {one.id: one for one in report.replicas}
    changes = []
    for row in rows:
        said = reported.get(row.id)
        if said is None and row.state is not ReplicaState.WANTED:
            changes.append(_missing(row))
        elif said is not None and not follows(row.state, said.state):
            log.warning("report_refused", replica_id=str(row.id), known=row.state, reported=said.state)
        elif said is not None and (said.state is not row.state or _moved(row, said)):
            changes.append(said)
    return changes


def _missing(row: Replica) -> ReplicaReport:
    ended = row.drain_requested or row.state is ReplicaState.DRAINING
    return ReplicaReport(
        id=row.id,
        state=ReplicaState.STOPPED if ended else ReplicaState.FAILED,
        reason=None if ended else "its worker does not know it any more: it ended while the worker was away",
        since=row.since,
    )


def _moved(row: Replica, said: ReplicaReport) -> bool:
    return said.address is not None and said.address.model_dump(mode="json", exclude_none=True) != row.address


def _still_live(live: dict[UUID, list[Replica]]) -> dict[UUID, list[Replica]]:
    return {key: [row for row in rows if row.state in LIVE] for key, rows in live.items()}


async def _on_worker(session: AsyncSession, worker_id: str) -> list[Replica]:
    query = (
        select(Replica)
        .where(Replica.worker_id == worker_id, Replica.state.in_(LIVE))
        .order_by(Replica.created_at, Replica.id)
    )
    return list((await session.execute(query)).scalars())


def _offer(row: Worker) -> tuple[object, ...]:
    """What of a worker decides which replicas it takes."""
    return row.languages, row.labels, row.cpus, row.memory_mib, row.gpus, row.slots


def _words(report: WorkerReport) -> dict[str, Any]:
    """What a worker says of itself, as columns."""
    return {
        "name": storable(report.name, 255),
        "version": storable(report.version, 64),
        "runtime": storable(report.runtime, 32),
        "labels": {storable(key, 255): storable(value, 255) for key, value in report.labels.items()},
        "languages": [language.value for language in report.languages],
        "cpus": report.capacity.cpus,
        "memory_mib": report.capacity.memory_mib,
        "gpus": report.capacity.gpus,
        "slots": report.capacity.replicas,
        "run": storable(report.run, 64),
        "sequence": report.sequence,
    }
