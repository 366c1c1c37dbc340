"""Launches and their deployments, as administrators and the registry ask for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.launches import EntryStatus, LaunchEntry, LaunchOrder, LaunchStatus, entry_id
from libs.common.contracts.replicas import ReplicaState
from libs.common.pages import Page
from services.deployer import clusters, launch_plan, listings
from services.deployer.clusters import Seen
from services.deployer.launches import order
from services.deployer.listings import MAX_REPLICAS_SHOWN
from services.deployer.models import Deployment, Launch, LaunchDeployment, Replica
from services.deployer.states import LIVE


async def deployments(
    session: AsyncSession, *, limit: int, cursor: str | None, launch_id: UUID | None
) -> Page[LaunchDeployment]:
    """Newest first."""
    row = LaunchDeployment
    query = select(row).order_by(row.started_at.desc(), row.id.desc())
    if launch_id is not None:
        query = query.where(row.launch_id == launch_id)
    if cursor is not None:
        at, key = listings.place(cursor, listings.moment_and_id)
        query = query.where(tuple_(row.started_at, row.id) < tuple_(at, key))
    return await listings.page(session, query, limit, lambda one: f"{one.started_at.isoformat()} {one.id}")


async def deployment(session: AsyncSession, deployment_id: UUID) -> tuple[LaunchDeployment, Launch] | None:
    row = await session.get(LaunchDeployment, deployment_id, populate_existing=True)
    return (row, await session.get_one(Launch, row.launch_id, populate_existing=True)) if row is not None else None


async def launches(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, Launch]:
    """By id; those that were never ordered are left out."""
    rows = (await session.execute(select(Launch).where(Launch.id.in_(ids)))).scalars()
    return {row.id: row for row in rows}


async def replicas(session: AsyncSession, launch_id: UUID) -> Sequence[Replica]:
    """A launch's replicas, newest first: all that have not ended, and as many others as fit in."""
    query = (
        select(Replica)
        .join(Deployment, Deployment.id == Replica.deployment_id)
        .where(Deployment.launch_id == launch_id)
        .order_by(Replica.state.in_(LIVE).desc(), Replica.created_at.desc(), Replica.id)
        .limit(MAX_REPLICAS_SHOWN)
    )
    rows = (await session.execute(query)).scalars().all()
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


async def statuses(session: AsyncSession, ids: Collection[UUID]) -> list[LaunchStatus]:
    """How launches are doing."""
    found = await launches(session, ids)
    query = select(Deployment).where(Deployment.launch_id.in_(found))
    entries = {row.id: row for row in (await session.execute(query)).scalars()}
    live = await listings.live_replicas(session, entries.keys())
    return [_status(found[key], entries, live) for key in sorted(found)]


def _status(row: Launch, entries: dict[UUID, Deployment], live: dict[UUID, list[Replica]]) -> LaunchStatus:
    newest, aim = LaunchOrder.model_validate(row.order), order(row.aim)
    seen = Seen.model_validate(row.observed) if row.observed is not None else None
    if aim is not None and clusters.place(aim) is not None:
        said = tuple(_seen_status(entry, seen or Seen()) for entry in aim.entries)
    else:
        said = tuple(
            _entry_status(entry, entries.get(key := entry_id(row.id, entry.vanity_url)), live.get(key, []))
            for entry in (aim.entries if aim is not None else ())
        )
    return LaunchStatus(
        launch_id=row.id,
        deployment_id=row.deployment_id,
        number=newest.number,
        state=row.state,
        satellite_version=newest.satellite_version,
        serving_version=serving_version(row),
        reason=row.reason or (seen.obstacle if seen is not None else None),
        paused=newest.paused,
        desired=sum(one.desired for one in said),
        ready=sum(one.ready for one in said),
        entries=said,
        changed_at=row.changed_at,
    )


def serving_version(row: Launch) -> int | None:
    """The satellite version by which calls of a launch are answered now."""
    said = launch_plan.launched(row.id, row.state, order(row.aim), order(row.proven))
    if said is not None:
        return said.satellite_version
    return Seen.model_validate(row.observed).serving_version if row.observed is not None else None


def _seen_status(entry: LaunchEntry, seen: Seen) -> EntryStatus:
    """An entry as it was seen in a cluster."""
    for one in seen.entries:
        if one.vanity_url.lower() == entry.vanity_url.lower():
            return one.model_copy(update={"vanity_url": entry.vanity_url, "desired": entry.replicas})
    return EntryStatus(vanity_url=entry.vanity_url, algorithm=entry.algorithm, desired=entry.replicas)


def _entry_status(entry: LaunchEntry, row: Deployment | None, live: Sequence[Replica]) -> EntryStatus:
    leaving = [one for one in live if one.drain_requested or one.state is ReplicaState.DRAINING]
    ready = [one for one in live if one not in leaving and one.state is ReplicaState.READY]
    return EntryStatus(
        vanity_url=entry.vanity_url,
        algorithm=entry.algorithm,
        desired=entry.replicas,
        ready=sum(one.revision_id == entry.revision_id for one in ready),
        starting=len(live) - len(leaving) - len(ready),
        draining=len(leaving) + sum(one.revision_id != entry.revision_id for one in ready),
        reason=(row.pending_reason or row.last_failure) if row is not None else None,
    )
