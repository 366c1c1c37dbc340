"""Launches on the platform's workers: orders become entries with replicas, and entries that are ready end an order.
Those in clusters are brought on by `cluster_launches.py`.

Runs within the reconciler's turn, so one process at a time does. All is in rows; what it is told twice changes
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.contracts.launches import (
    KEYS_PREFIX,
    LAUNCH_PREFIX,
    LAUNCHED_FEED,
    UNFINISHED,
    LaunchEntry,
    LaunchOrder,
    LaunchState,
    WorkersTarget,
    entry_id,
)
from libs.common.contracts.replicas import ReplicaState
from libs.common.feed import FeedPublisher
from services.deployer import events, launch_plan, store
from services.deployer.catalog import Catalog
from services.deployer.launch_orders import LaunchOrders
from services.deployer.launch_plan import LaunchView, Step
from services.deployer.models import Deployment, DeploymentKind, FeedEntry, Launch, LaunchDeployment, Replica
from services.deployer.turn import Turn

log = logs.get(__name__)


@dataclass(frozen=True)
class Decided:
    """A step of one launch that is still to be carried out."""

    row: Launch | None
    newest: LaunchOrder
    step: Step | None
    """None: what is left of it on workers ends, as it runs elsewhere now."""
    entry_ids: Sequence[UUID]


class Launches:
    """Brings launches on."""

    def __init__(self, orders: LaunchOrders, catalog: Catalog, feeds: FeedPublisher) -> None:
        self._orders = orders
        self._catalog = catalog
        self._feeds = feeds

    async def decide(self, session: AsyncSession, ordered: Collection[UUID], turn: Turn) -> list[Decided]:
        """The next step of each launch that was ordered or is unfinished, if it has one. Locks the launches."""
        found = []
        for launch_id in sorted({*ordered, *await _unfinished(session)}):
            try:
                async with session.begin_nested():
                    decided = await self._decide(session, launch_id, turn)
            except Exception:  # others need not wait for it
                self._put_back(launch_id)
            else:
                found += [decided] if decided is not None else []
        return found

    async def _decide(self, session: AsyncSession, launch_id: UUID, turn: Turn) -> Decided | None:
        row = await lock(session, launch_id)
        known = order(row.order) if row is not None else None
        newest = launch_plan.newer(self._orders.order(launch_id), known)
        if newest is None:
            return None
        entries = await _entries(session, launch_id)
        ids = [one.id for one in entries]
        if not isinstance(newest.target, WorkersTarget):
            return Decided(row, newest, None, ids) if any(one.replicas for one in entries) else None
        if row is not None and row.deadline_at is not None:
            row.deadline_at += turn.unwatched
        replicas = await store.live_replicas(session, ids)
        view = self._view(row, newest, entries, replicas, behind=turn.behind)
        step = launch_plan.advance(replace(view, watched=turn.watched), turn.now)
        return Decided(row, newest, step, ids) if step is not None else None

    async def carry_out(
        self, session: AsyncSession, decided: Iterable[Decided], locked: dict[UUID, Deployment], now: datetime
    ) -> None:
        """Write steps down. Entries that are new are added to `locked`, which has all others; `publish` follows."""
        for one in decided:
            try:
                async with session.begin_nested():
                    if one.step is not None:
                        await write(session, one.row, one.newest, one.step, now)
                    rows = {key: locked[key] for key in one.entry_ids}
                    _aim_at(session, one.newest, one.step, rows, now)
            except Exception:  # others need not wait for it; its rows are as they were
                self._put_back(one.newest.launch_id)
                locked.update(await store.lock(session, one.entry_ids))
            else:
                locked.update(rows)

    async def publish(self, session: AsyncSession) -> None:
        """Say which launch answers to what. Locks the feed, so it comes last in a transaction, and before it reads:
        what another process has just published is seen, and is not taken back. Locks no launch after the feed, for
        whose lock others wait that have one locked."""
        await session.flush()
        await self._feeds.lock(session, LAUNCHED_FEED)
        query = select(Launch).order_by(Launch.id)
        rows = (await session.execute(query, execution_options={"populate_existing": True})).scalars().all()
        found = {row.id: launch_plan.launched(row.id, row.state, order(row.aim), order(row.proven)) for row in rows}
        plain = launch_plan.plain_addresses(
            (row.first_at, body) for row in rows if (body := found[row.id]) is not None
        )
        used = {body.keys for body in found.values() if body is not None}
        known = await _published(session)
        for digest in sorted(used):  # before what refers to them
            keys = self._orders.keys(digest)
            if keys is not None and dict(keys) != known.get(key := f"{KEYS_PREFIX}{digest}"):
                await self._feeds.publish(session, LAUNCHED_FEED, key, dict(keys))
        for launch_id, one in found.items():
            whole = one.model_copy(update={"plain": plain[launch_id]}) if one is not None else None
            said = whole.model_dump(mode="json") if whole is not None else None
            if said != known.get(key := f"{LAUNCH_PREFIX}{launch_id}"):
                await self._feeds.publish(session, LAUNCHED_FEED, key, said)
        kept = {f"{KEYS_PREFIX}{digest}" for digest in used} | {f"{LAUNCH_PREFIX}{key}" for key in found}
        for key in sorted(known.keys() - kept):
            await self._feeds.publish(session, LAUNCHED_FEED, key, None)

    def _put_back(self, launch_id: UUID) -> None:
        """A launch cannot be brought on: say why, and try it again."""
        log.warning("launch_not_brought_on", launch_id=str(launch_id), exc_info=True)
        self._orders.put_back([launch_id])

    def _view(
        self,
        row: Launch | None,
        newest: LaunchOrder,
        entries: Sequence[Deployment],
        replicas: dict[UUID, list[Replica]],
        *,
        behind: bool,
    ) -> LaunchView:
        if row is None:
            return LaunchView(newest=newest)
        aim = order(row.aim)
        faults = [
            fault
            for entry in (aim.entries if aim else ())
            if (fault := self._fault(row, entry, entries, replicas, behind=behind))
        ]
        return LaunchView(
            newest=newest,
            order=order(row.order),
            state=row.state,
            aim=aim,
            proven=order(row.proven),
            deadline_at=row.deadline_at,
            ready=aim is not None and not faults,
            running=any(replicas.values()),
            obstacle="; ".join(faults[:5]) or None,
            reason=row.reason,
        )

    def _fault(
        self,
        row: Launch,
        entry: LaunchEntry,
        entries: Sequence[Deployment],
        replicas: dict[UUID, list[Replica]],
        *,
        behind: bool,
    ) -> str | None:
        """Why an entry is not ready, or None if it is."""
        key = entry_id(row.id, entry.vanity_url)
        deployment = next((one for one in entries if one.id == key), None)
        if deployment is None:
            return f"{entry.vanity_url}: not begun"
        ready = sum(
            one.state is ReplicaState.READY
            and not one.drain_requested
            and one.revision_id == entry.revision_id
            and (behind or self._catalog.is_current(one.spec))
            for one in replicas[key]
        )
        if ready >= entry.replicas:
            return None
        why = deployment.pending_reason or deployment.last_failure
        return f"{entry.vanity_url}: {ready} of {entry.replicas} are ready" + (f" ({why})" if why else "")


async def lock(session: AsyncSession, launch_id: UUID) -> Launch | None:
    """The launch's row, locked. Where there is none, nobody else makes one until the transaction ends."""
    row = await session.get(Launch, launch_id, with_for_update=True, populate_existing=True)
    if row is None:
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(launch_id), 0))))
        row = await session.get(Launch, launch_id, with_for_update=True, populate_existing=True)
    return row


async def write(session: AsyncSession, row: Launch | None, newest: LaunchOrder, step: Step, now: datetime) -> Launch:
    """Write a step of a launch down; `publish` follows. Gives the launch's row, which is new if there was none."""
    said = newest.model_dump(mode="json")
    begun = row is None or row.deployment_id != newest.deployment_id
    if row is None:
        row = Launch(id=newest.launch_id, deployment_id=newest.deployment_id, first_at=now)
        session.add(row)
    elif begun:
        before = await session.get_one(LaunchDeployment, row.deployment_id)
        if before.state in UNFINISHED:
            before.state, before.changed_at = LaunchState.SUPERSEDED, now
            events.record_launch(session, now, before.id, "superseded by a later order")
    if row.aim is None and step.aim is not None:
        row.first_at = now
    moved = begun or row.state is not step.state
    row.deployment_id, row.order, row.state = newest.deployment_id, said, step.state
    row.aim, row.proven = _dump(step.aim), _dump(step.proven)
    row.deadline_at, row.reason, row.changed_at = step.deadline_at, step.reason, now
    await session.flush()
    current = await session.get(LaunchDeployment, newest.deployment_id)
    if current is None:
        current = LaunchDeployment(id=newest.deployment_id, launch_id=row.id, number=newest.number, started_at=now)
        session.add(current)
    current.order, current.state, current.reason, current.changed_at = said, step.state, step.reason, now
    if moved:
        what = f"{step.state.value.replace('_', ' ')}: version {newest.satellite_version} by {newest.by}"
        events.record_launch(session, now, current.id, f"{what}; {step.reason}" if step.reason else what)
    return row


def _aim_at(
    session: AsyncSession, newest: LaunchOrder, step: Step | None, rows: dict[UUID, Deployment], now: datetime
) -> None:
    """Set the launch's entries, which are locked, to what it should run, and make them due."""
    aim = step.aim if step is not None else None
    wanted = {entry_id(newest.launch_id, one.vanity_url): one for one in (aim.entries if aim is not None else ())}
    labels = dict(aim.target.labels) if aim is not None and isinstance(aim.target, WorkersTarget) else {}
    for key, entry in sorted(wanted.items()):
        row = rows.get(key)
        if row is None:
            row = rows[key] = Deployment(
                id=key, kind=DeploymentKind.LAUNCHED, launch_id=newest.launch_id, created_at=now, failures=0
            )
            session.add(row)
        if row.revision_id != entry.revision_id:
            row.failures, row.retry_at, row.last_failure = 0, None, None
        row.revision_id, row.algorithm_id = entry.revision_id, entry.algorithm_id
        row.vanity_url, row.replicas, row.labels = entry.vanity_url, entry.replicas, labels
    for key, row in rows.items():
        if key not in wanted and (step is None or step.retire):
            row.replicas = 0
        row.launch_deployment_id = newest.deployment_id
        row.paused = newest.paused
        row.due_at, row.changed_at = now, now


async def _unfinished(session: AsyncSession) -> Sequence[UUID]:
    return (await session.execute(select(Launch.id).where(Launch.state.in_(UNFINISHED)))).scalars().all()


async def _entries(session: AsyncSession, launch_id: UUID) -> Sequence[Deployment]:
    query = select(Deployment).where(Deployment.launch_id == launch_id).order_by(Deployment.id)
    return (await session.execute(query, execution_options={"populate_existing": True})).scalars().all()


async def _published(session: AsyncSession) -> dict[str, dict[str, Any]]:
    """What the feed `launched` says, by key."""
    query = select(FeedEntry.key, FeedEntry.body).where(FeedEntry.name == LAUNCHED_FEED, FeedEntry.body.is_not(None))
    return {row.key: row.body for row in await session.execute(query)}


def order(stored: dict[str, Any] | None) -> LaunchOrder | None:
    """An order as a column keeps it."""
    return LaunchOrder.model_validate(stored) if stored is not None else None


def _dump(order: LaunchOrder | None) -> dict[str, Any] | None:
    return order.model_dump(mode="json") if order is not None else None
