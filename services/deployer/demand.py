"""Demand: which revisions are called, as each gateway says it. The newest word counts, and lapses after a while."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.replicas import Demand as Word
from libs.common.contracts.replicas import DemandReport
from libs.common.db import after_commit
from libs.common.text import storable
from services.deployer import store
from services.deployer.models import Demand, Deployment, DeploymentKind


async def report(
    session: AsyncSession, word: DemandReport, *, now: datetime, seconds: float, wake: Callable[[], None]
) -> None:
    """Take a gateway's word on all that it serves. It counts for `seconds`.

    Rows are written only where it says something new or its last word would lapse soon, so that many gateways with
    steady calls cost little.
    """
    gateway, until = storable(word.gateway, 128), now + timedelta(seconds=seconds)
    named = {one.revision_id: one for one in word.demands if _calls(one)}
    known = await _known(session, gateway, now)
    changed = {key: one for key, one in named.items() if key not in known or known[key][0] != _calls(one)}
    gone = known.keys() - named.keys()
    if changed or gone:
        await _add_deployments(session, changed, now)
        await store.make_due(session, changed.keys() | gone, now)
        await _write(session, gateway, changed, until)
        await session.execute(delete(Demand).where(Demand.gateway == gateway, Demand.deployment_id.in_(gone)))
        after_commit(session, wake)
    soon = now + timedelta(seconds=seconds / 2)
    lapsing = [key for key in named.keys() - changed.keys() if known[key][1] < soon]
    if lapsing:
        mine = update(Demand).where(Demand.gateway == gateway, Demand.deployment_id.in_(lapsing))
        await session.execute(mine.values(until=until))


def _calls(one: Word) -> int:
    return max(one.in_flight, one.waiting)


async def _known(session: AsyncSession, gateway: str, now: datetime) -> dict[UUID, tuple[int, datetime]]:
    """What the gateway said last: calls, and until when it counts."""
    query = select(Demand.deployment_id, Demand.in_flight, Demand.waiting, Demand.until).where(
        Demand.gateway == gateway, Demand.until >= now
    )
    return {row[0]: (max(row[1], row[2]), row[3]) for row in await session.execute(query)}


async def _add_deployments(session: AsyncSession, words: Mapping[UUID, Word], now: datetime) -> None:
    """A row for each revision that was never called before."""
    known = await _existing(session, words.keys())
    fresh = [
        {
            "id": key,
            "kind": DeploymentKind.ON_DEMAND,
            "revision_id": key,
            "algorithm_id": words[key].algorithm_id,
            "created_at": now,
            "changed_at": now,
        }
        for key in sorted(words.keys() - known)
    ]
    if fresh:
        await session.execute(insert(Deployment).on_conflict_do_nothing(), fresh)


async def _existing(session: AsyncSession, ids: Collection[UUID]) -> set[UUID]:
    return set((await session.execute(select(Deployment.id).where(Deployment.id.in_(ids)))).scalars())


async def _write(session: AsyncSession, gateway: str, words: Mapping[UUID, Word], until: datetime) -> None:
    rows = [
        {
            "deployment_id": key,
            "gateway": gateway,
            "in_flight": one.in_flight,
            "waiting": one.waiting,
            "until": until,
        }
        for key, one in sorted(words.items())
    ]
    if not rows:
        return
    statement = insert(Demand)
    newest = {name: statement.excluded[name] for name in ("in_flight", "waiting", "until")}
    await session.execute(
        statement.on_conflict_do_update(index_elements=["deployment_id", "gateway"], set_=newest), rows
    )
