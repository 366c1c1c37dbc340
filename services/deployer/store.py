"""Rows of deployments and what the planner sees of them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState
from services.deployer.catalog import Catalog
from services.deployer.models import Demand, Deployment, Replica, Worker
from services.deployer.states import LIVE
from services.deployer.view import DeploymentView, IdleReplica, ReplicaView, Room, Wish, WorkerView, millicpus

MAX_DUE = 500
MAX_IDLE = 200
FAILED_ON = timedelta(minutes=5)

SUMS = (func.count(), func.sum(Replica.memory_mib), func.sum(Replica.cpus), func.sum(Replica.gpus))
"""What several replicas take up, in the order of `room`."""

_live = Replica.state.in_(LIVE)
_OTHER = aliased(Worker)


async def lock(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, Deployment]:
    """The deployments' rows, locked in the order in which everybody locks them. Who has them locked is the only one
    that changes their replicas."""
    query = select(Deployment).where(Deployment.id.in_(ids)).order_by(Deployment.id).with_for_update()
    rows = (await session.execute(query, execution_options={"populate_existing": True})).scalars()
    return {row.id: row for row in rows}


async def make_due(session: AsyncSession, ids: Collection[UUID], now: datetime) -> None:
    """These deployments are to be planned now."""
    if not ids:
        return
    for row in (await lock(session, ids)).values():
        row.due_at = now if row.due_at is None else min(now, row.due_at)
    await session.flush()


async def make_pending_due(session: AsyncSession, now: datetime) -> bool:
    """Room was found: deployments that lack it are to be planned now. Those that are locked are being planned."""
    waiting = select(Deployment.id).where(Deployment.pending_since.is_not(None)).order_by(Deployment.id)
    ids = (await session.execute(waiting.with_for_update(skip_locked=True))).scalars().all()
    if ids:
        await session.execute(update(Deployment).where(Deployment.id.in_(ids)).values(due_at=now))
    return bool(ids)


async def due(session: AsyncSession, now: datetime, *, watched: bool) -> list[UUID]:
    """Deployments to plan: due ones, those whose demand lapsed, those that lose a replica with its worker.

    Args:
        watched: a worker that lapsed is lost, if another one is heard.
    """
    parts = [
        select(Deployment.id).where(Deployment.due_at <= now),
        select(Demand.deployment_id).where(Demand.until < now),
    ]
    if watched:
        lapsed = and_(Worker.lease_until < now, exists().where(_OTHER.lease_until >= now))
        parts.append(select(Replica.deployment_id).join(Worker, Worker.id == Replica.worker_id).where(_live, lapsed))
    return list((await session.execute(union(*parts).limit(MAX_DUE))).scalars())


async def live_replicas(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, list[Replica]]:
    """Replicas of the deployments that have not ended, by deployment. The deployments are locked."""
    query = select(Replica).where(Replica.deployment_id.in_(ids), _live)
    rows = (await session.execute(query, execution_options={"populate_existing": True})).scalars()
    found: dict[UUID, list[Replica]] = {one: [] for one in ids}
    for row in rows:
        found[row.deployment_id].append(row)
    return found


async def demand(session: AsyncSession, ids: Collection[UUID], now: datetime) -> dict[UUID, tuple[int, datetime]]:
    """Calls at once and when the first word on them lapses, by deployment."""
    query = (
        select(
            Demand.deployment_id, func.sum(func.greatest(Demand.in_flight, Demand.waiting)), func.min(Demand.until)
        )
        .where(Demand.deployment_id.in_(ids), Demand.until >= now)
        .group_by(Demand.deployment_id)
    )
    return {row[0]: (int(row[1]), row[2]) for row in await session.execute(query)}


async def failed_on(
    session: AsyncSession, deployments: Iterable[Deployment], now: datetime
) -> dict[UUID, frozenset[str]]:
    """Workers on which the deployments failed not long ago."""
    failing = [one.id for one in deployments if one.failures]
    if not failing:
        return {}
    query = select(Replica.deployment_id, Replica.worker_id).where(
        Replica.deployment_id.in_(failing),
        Replica.state == ReplicaState.FAILED,
        Replica.since > now - FAILED_ON,
    )
    found: dict[UUID, set[str]] = defaultdict(set)
    for deployment_id, worker_id in await session.execute(query):
        found[deployment_id].add(worker_id)
    return {deployment_id: frozenset(workers) for deployment_id, workers in found.items()}


async def workers(session: AsyncSession) -> tuple[WorkerView, ...]:
    """All workers, with what their live replicas use."""
    leaving = or_(Replica.drain_requested, Replica.state == ReplicaState.DRAINING)
    used: dict[str, Room] = {}
    gone: dict[str, Room] = {}
    sums = select(Replica.worker_id, leaving, *SUMS).where(_live).group_by(Replica.worker_id, leaving)
    for worker_id, leaves, *amounts in await session.execute(sums):
        taken = room(*amounts)
        used[worker_id] = used.get(worker_id, Room()) + taken
        if leaves:
            gone[worker_id] = taken
    return tuple(
        WorkerView(
            id=worker.id,
            lease_until=worker.lease_until,
            draining=worker.draining,
            languages=frozenset(_languages(worker.languages)),
            capacity=Room(worker.slots, worker.memory_mib, millicpus(worker.cpus), worker.gpus),
            used=used.get(worker.id, Room()),
            leaving=gone.get(worker.id, Room()),
            labels=frozenset(worker.labels.items()),
        )
        for worker in (await session.execute(select(Worker))).scalars()
    )


async def idle(
    session: AsyncSession, others_than: Collection[UUID], now: datetime
) -> tuple[dict[UUID, Deployment], dict[UUID, list[Replica]], tuple[IdleReplica, ...]]:
    """Deployments that nobody needs, longest idle first and locked, with their replicas. Those that somebody else
    has locked are left out."""
    query = (
        select(Deployment)
        .where(
            Deployment.need == 0,
            Deployment.wanted > 0,
            Deployment.due_at > now,
            Deployment.id.not_in(others_than),
        )
        .order_by(Deployment.last_needed)
        .limit(MAX_IDLE)
        .with_for_update(skip_locked=True)
    )
    rows = (await session.execute(query)).scalars().all()
    replicas = await live_replicas(session, [row.id for row in rows])
    found = tuple(
        IdleReplica(
            id=replica.id,
            deployment_id=row.id,
            worker_id=replica.worker_id,
            room=_taken(replica),
            idle_since=row.last_needed or row.created_at,
        )
        for row in rows
        for replica in replicas[row.id]
        if not _leaves(replica)
    )
    return {row.id: row for row in rows}, replicas, found


def see(
    row: Deployment,
    catalog: Catalog,
    replicas: Iterable[Replica],
    demanded: tuple[int, datetime] | None,
    failed: frozenset[str],
    *,
    behind: bool = False,
) -> DeploymentView:
    """A deployment as the planner sees it.

    Args:
        behind: the catalog is older than one that was planned with. What it does not know is left alone, and no
            replica is replaced for what it says.
    """
    wish = _wish(row, catalog)
    return DeploymentView(
        id=row.id,
        wish=wish,
        unheard=behind and wish is None and row.replicas != 0,
        launched=row.replicas is not None,
        paused=row.paused,
        in_flight=demanded[0] if demanded else 0,
        demand_until=demanded[1] if demanded else None,
        need=row.need,
        wanted=row.wanted,
        last_needed=row.last_needed,
        failures=row.failures,
        retry_at=row.retry_at,
        pending_since=row.pending_since,
        failed_on=failed,
        replicas=tuple(
            ReplicaView(
                id=replica.id,
                worker_id=replica.worker_id,
                state=replica.state,
                draining=_leaves(replica),
                current=replica.revision_id == row.revision_id and (behind or catalog.is_current(replica.spec)),
                room=_taken(replica),
                created_at=replica.created_at,
                since=replica.since,
            )
            for replica in replicas
        ),
    )


def _wish(row: Deployment, catalog: Catalog) -> Wish | None:
    """What the catalog says, with the fixed number of replicas and the place of a launch's entry."""
    wish = catalog.wish(row.revision_id)
    if wish is None or row.replicas is None:
        return wish
    return dataclasses.replace(
        wish, min_replicas=row.replicas, max_replicas=row.replicas, labels=frozenset(row.labels.items())
    )


def room(slots: float, memory_mib: float, cpus: float, gpus: float) -> Room:
    """What a row of `SUMS` says."""
    return Room(int(slots), int(memory_mib), millicpus(cpus), int(gpus))


def _taken(replica: Replica) -> Room:
    return room(1, replica.memory_mib, replica.cpus, replica.gpus)


def _leaves(replica: Replica) -> bool:
    return replica.drain_requested or replica.state is ReplicaState.DRAINING


def _languages(names: Iterable[str]) -> Iterable[Language]:
    """Those that this release knows: a newer worker may speak more."""
    known = {language.value for language in Language}
    return (Language(name) for name in names if name in known)
