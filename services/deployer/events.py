"""What happened to a deployment, for people: a bounded history."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services.deployer.models import Deployment, Event, EventKind, Replica

MAX_MESSAGE = 2000


def record_launch(session: AsyncSession, at: datetime, launch_deployment_id: UUID, message: str) -> None:
    """Something that happened to a launch as a whole."""
    session.add(
        Event(launch_deployment_id=launch_deployment_id, at=at, kind=EventKind.LAUNCH, message=message[:MAX_MESSAGE])
    )


def record(session: AsyncSession, at: datetime, kind: EventKind, deployment: Deployment, message: str) -> None:
    """Something that happened to the deployment itself."""
    session.add(
        Event(
            deployment_id=deployment.id,
            launch_deployment_id=deployment.launch_deployment_id,
            at=at,
            kind=kind,
            message=message[:MAX_MESSAGE],
        )
    )


def record_replica(
    session: AsyncSession, at: datetime, kind: EventKind, deployment: Deployment, replica: Replica, message: str
) -> None:
    """Something that happened to one of its replicas."""
    session.add(
        Event(
            deployment_id=deployment.id,
            launch_deployment_id=deployment.launch_deployment_id,
            at=at,
            kind=kind,
            replica_id=replica.id,
            worker_id=replica.worker_id,
            message=message[:MAX_MESSAGE],
        )
    )


async def prune(session: AsyncSession, *, since: datetime, keep: int) -> None:
    """Of each deployment, and of each launch's deployment as a whole, that something happened to since then, keep the
    newest `keep` events."""
    of_launches = Event.deployment_id.is_(None)
    await _prune(session, Event.deployment_id, ~of_launches, since, keep)
    await _prune(session, Event.launch_deployment_id, of_launches, since, keep)


async def _prune(
    session: AsyncSession,
    whose: InstrumentedAttribute[UUID | None],
    which: ColumnElement[bool],
    since: datetime,
    keep: int,
) -> None:
    recent = select(whose).where(Event.at >= since, which).distinct()
    rank = func.row_number().over(partition_by=whose, order_by=Event.id.desc())
    ranked = select(Event.id, rank.label("rank")).where(whose.in_(recent), which).subquery()
    await session.execute(delete(Event).where(Event.id.in_(select(ranked.c.id).where(ranked.c.rank > keep))))
