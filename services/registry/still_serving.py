"""Launches that an algorithm may serve with, so that nobody deletes it under them.

What was ordered last need not be what serves: it may be on its way still, or was taken back as it was not ready in
time. Only deployers know.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.launches import LaunchState, OrderAction
from services.registry.launch_statuses import Statuses
from services.registry.models import Launch, Order, SatelliteVersion

_NAMED = 10


@dataclass(frozen=True)
class Candidate:
    """A launch that was ordered to run with an algorithm since it was stopped last.

    Attributes:
        newest: the deployment of its newest order.
        versions: those of its satellite that were ordered and name the algorithm.
        wanted: the newest order's version is one of them.
    """

    launch_id: UUID
    name: str
    newest: UUID
    versions: frozenset[int]
    wanted: bool


async def candidates(session: AsyncSession, algorithm_id: UUID) -> Sequence[Candidate]:
    """By name. Removed launches too: what runs of them goes on."""
    last = select(
        Order.launch_id,
        func.max(Order.number).label("newest"),
        func.coalesce(func.max(Order.number).filter(Order.action == OrderAction.STOP), 0).label("stopped"),
    )
    ordered = last.group_by(Order.launch_id).subquery()
    newest = select(Order).subquery()
    query = (
        select(
            Launch.id,
            Launch.name,
            newest.c.deployment_id,
            func.array_agg(Order.satellite_version),
            func.bool_or(Order.number == ordered.c.newest),
        )
        .join(Order, Order.launch_id == Launch.id)
        .join(ordered, (ordered.c.launch_id == Launch.id) & (ordered.c.stopped < Order.number))
        .join(newest, (newest.c.launch_id == Launch.id) & (newest.c.number == ordered.c.newest))
        .join(
            SatelliteVersion,
            (SatelliteVersion.satellite_id == Launch.satellite_id)
            & (SatelliteVersion.number == Order.satellite_version),
        )
        .where(SatelliteVersion.entries.contains([{"algorithm_id": str(algorithm_id)}]))
        .group_by(Launch.id, Launch.name, newest.c.deployment_id)
        .order_by(Launch.name, Launch.id)
    )
    rows = await session.execute(query)
    return [Candidate(key, name, last, frozenset(versions), wanted) for key, name, last, versions, wanted in rows]


def obstacle(found: Collection[Candidate], statuses: Statuses) -> str | None:
    """Why an algorithm cannot be deleted, or None when nothing serves with it.

    Args:
        statuses: what deployers say of the launches. What they do not say is taken for serving.
    """
    if wanted := [one.name for one in found if one.wanted]:
        return f"it runs with the launches {_list(wanted)}; stop them, or deploy a version without it, first"
    if left := [one.name for one in found if _may_serve(one, statuses)]:
        return (
            f"it may still serve with the launches {_list(left)}, as what was ordered since is not known to be"
            " deployed; stop them first, or wait for that"
        )
    return None


def _may_serve(one: Candidate, statuses: Statuses) -> bool:
    status = (statuses or {}).get(one.launch_id)
    if status is None or status.deployment_id != one.newest:
        return True
    if status.state is LaunchState.ROLLED_BACK and status.serving_version is not None:
        return status.serving_version in one.versions
    return status.state is not LaunchState.DEPLOYED


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
