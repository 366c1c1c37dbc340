"""Lists for administrators: filtered, in a fixed order, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import pages
from libs.common.contracts.replicas import ReplicaState
from libs.common.pages import Page
from libs.common.problems import Invalid, NotFound
from services.deployer import store
from services.deployer.models import Deployment, Event, Replica, Worker
from services.deployer.states import LIVE
from services.deployer.view import Room

R = TypeVar("R")

MAX_REPLICAS_SHOWN = 100


async def workers(session: AsyncSession, *, limit: int, cursor: str | None) -> Page[Worker]:
    """By id."""
    query = select(Worker).order_by(Worker.id)
    if cursor is not None:
        query = query.where(Worker.id > place(cursor, pages.text))
    return await page(session, query, limit, lambda row: row.id)


async def worker_usage(session: AsyncSession, ids: Collection[str]) -> dict[str, Room]:
    """What is in use on workers."""
    query = select(Replica.worker_id, *store.SUMS).where(Replica.worker_id.in_(ids), Replica.state.in_(LIVE))
    rows = await session.execute(query.group_by(Replica.worker_id))
    return {row[0]: store.room(*row[1:]) for row in rows}


async def deployments(
    session: AsyncSession,
    *,
    limit: int,
    cursor: str | None,
    algorithm_id: UUID | None,
    active: bool | None,
    launch_id: UUID | None = None,
) -> Page[Deployment]:
    """By id. `active` ones are those that are wanted, or have replicas that have not ended yet."""
    query = select(Deployment).order_by(Deployment.id)
    if algorithm_id is not None:
        query = query.where(Deployment.algorithm_id == algorithm_id)
    if launch_id is not None:
        query = query.where(Deployment.launch_id == launch_id)
    if active is not None:
        query = query.where(Deployment.due_at.is_not(None) if active else Deployment.due_at.is_(None))
    if cursor is not None:
        query = query.where(Deployment.id > place(cursor, UUID))
    return await page(session, query, limit, lambda row: str(row.id))


async def deployment(session: AsyncSession, deployment_id: UUID) -> Deployment:
    """One deployment. Raises NotFound."""
    row = await session.get(Deployment, deployment_id)
    if row is None:
        raise NotFound(f"there is no deployment {deployment_id}")
    return row


async def live_replicas(session: AsyncSession, deployment_ids: Collection[UUID]) -> dict[UUID, list[Replica]]:
    """Replicas that have not ended, by deployment."""
    query = select(Replica).where(Replica.deployment_id.in_(deployment_ids), Replica.state.in_(LIVE))
    found: dict[UUID, list[Replica]] = {key: [] for key in deployment_ids}
    for row in (await session.execute(query)).scalars():
        found[row.deployment_id].append(row)
    return found


async def newest_replicas(session: AsyncSession, deployment_id: UUID) -> Sequence[Replica]:
    """A deployment's replicas, newest first: all that have not ended, and as many others as fit in."""
    query = (
        select(Replica)
        .where(Replica.deployment_id == deployment_id)
        .order_by(Replica.state.in_(LIVE).desc(), Replica.created_at.desc(), Replica.id)
        .limit(MAX_REPLICAS_SHOWN)
    )
    rows = (await session.execute(query)).scalars().all()
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


async def replicas(
    session: AsyncSession,
    *,
    limit: int,
    cursor: str | None,
    deployment_id: UUID | None,
    worker_id: str | None,
    state: ReplicaState | None,
) -> Page[Replica]:
    """Newest first."""
    query = select(Replica).order_by(Replica.created_at.desc(), Replica.id.desc())
    for column, value in (
        (Replica.deployment_id, deployment_id),
        (Replica.worker_id, worker_id),
        (Replica.state, state),
    ):
        if value is not None:
            query = query.where(column == value)
    if cursor is not None:
        at, key = place(cursor, moment_and_id)
        query = query.where(tuple_(Replica.created_at, Replica.id) < tuple_(at, key))
    return await page(session, query, limit, lambda row: f"{row.created_at.isoformat()} {row.id}")


async def replica(session: AsyncSession, replica_id: UUID) -> Replica:
    """One replica. Raises NotFound, also when it ended long ago."""
    row = await session.get(Replica, replica_id)
    if row is None:
        raise NotFound(f"there is no replica {replica_id}, or it ended some time ago")
    return row


async def events(session: AsyncSession, deployment_id: UUID, *, limit: int, cursor: str | None) -> Page[Event]:
    """Newest first, of a launch's deployment with all its entries."""
    of_it = or_(Event.deployment_id == deployment_id, Event.launch_deployment_id == deployment_id)
    query = select(Event).where(of_it).order_by(Event.id.desc())
    if cursor is not None:
        query = query.where(Event.id < place(cursor, pages.number))
    return await page(session, query, limit, lambda row: str(row.id))


async def page(session: AsyncSession, query: Select[R], limit: int, at: Callable[[R], str]) -> Page[R]:
    """A page of a query's rows. `at` says where the page after a row starts."""
    rows: Sequence[Any] = (await session.execute(query.limit(limit + 1))).scalars().all()
    return pages.page(rows, limit, at)


def place(cursor: str, read: Callable[[str], R]) -> R:
    """Where a cursor says that the page starts. Raises Invalid."""
    said = "this cursor did not come from the page before; start without one"
    return pages.decode(cursor, read, said, code=Invalid.code)


def moment_and_id(text: str) -> tuple[datetime, UUID]:
    """A place that is a moment and an id. Raises ValueError, OverflowError."""
    at, _, key = text.partition(" ")
    return pages.moment(at), pages.identifier(key)
