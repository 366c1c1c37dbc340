"""The loop that makes it so: reads what is due, plans it, writes the plan, then wakes the workers.

It keeps nothing between two runs but since when it watches. All intent is committed before anybody is told of it, so
that whatever dies, the next run goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy import delete, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.db import Database, Moment, after_commit
from libs.common.lease import new_token
from libs.common.loops import Loop
from services.deployer import store
from services.deployer.catalog import Catalog
from services.deployer.execution import Rows, carry_out
from services.deployer.hints import Hints
from services.deployer.launch_orders import LaunchOrders
from services.deployer.launches import Decided, Launches
from services.deployer.models import Demand, Deployment, DeploymentKind, Planner
from services.deployer.plan import plan
from services.deployer.routes import Routes
from services.deployer.turn import Turn, Watch
from services.deployer.view import View

LEAD = timedelta(seconds=5)
"""For so long after its last run a planner keeps off others that know less of the catalog."""
PUBLISH_EVERY = timedelta(seconds=60)
"""What launches answer to is said this often, whether or not there is news: keys may have come late."""
_PLANNER = "deployer"


class CatalogCopy(Protocol):
    """How far the local copy of the catalog feed is. A FeedFollower is one."""

    complete: bool
    epoch: str
    version: int


class Reconciler:
    """Plans what is due. Any number of processes may run one: they take turns.

    Args:
        copy: says whether the catalog is whole, and how new it is.
        orders: what launches should run. What has not arrived yet changes nothing.
        lease: that of workers.
        clock: the database's, by which leases of workers are written too, whichever host takes their reports.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        copy: CatalogCopy,
        routes: Routes,
        hints: Hints,
        launches: Launches,
        orders: LaunchOrders,
        *,
        lease: timedelta,
        clock: Moment = db.moment,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._copy = copy
        self._routes = routes
        self._hints = hints
        self._launches = launches
        self._orders = orders
        self._lease = lease
        self._clock = clock
        self._watch = Watch(lease / 3)
        self._token = new_token()
        self._publish_at: datetime | None = None
        self.loop = Loop("reconcile", self.once, every=1.0, backoff_limit=1.0)

    async def once(self) -> None:
        """Bring what is due one step further. Does nothing without a whole catalog, or while a planner that knows
        more of it is at work."""
        if not self._copy.complete:
            return
        changed, ordered = self._catalog.take_changed(), self._orders.take_changed()
        taken = False
        try:
            async with self._database.transaction() as session:
                turn = await self._lead(session)
                if turn is not None:
                    touched = await self._touched(session, changed, turn.now)
                    await self._plan_due(session, touched, ordered, turn)
                    taken = True
        finally:
            if not taken:
                self._catalog.put_back(changed)
                self._orders.put_back(ordered)

    async def _lead(self, session: AsyncSession) -> Turn | None:
        """Lock the planner's row, which is held until the commit: one plans at a time.

        Not for one that knows less of the catalog than another which planned a moment ago: it would take for gone
        what it has not heard of yet.
        """
        await session.execute(text("set local idle_in_transaction_session_timeout = '10s'"))
        row = await session.get(Planner, _PLANNER, with_for_update=True)
        if row is None:
            await session.execute(insert(Planner).values(id=_PLANNER).on_conflict_do_nothing())
            row = await session.get_one(Planner, _PLANNER, with_for_update=True)
        now = await self._clock(session)
        known = (self._copy.epoch, self._copy.version)
        other_leads = row.lease_token != self._token and row.lease_until is not None and row.lease_until > now
        behind = row.catalog_epoch == known[0] and row.catalog_version > known[1]
        if other_leads and (behind or row.catalog_epoch != known[0]):
            return None
        rested = now - (row.lease_until - LEAD) if row.lease_until is not None else timedelta()
        row.lease_token, row.lease_until = self._token, now + LEAD
        if not behind:
            row.catalog_epoch, row.catalog_version = known
        since = self._watch.look(now)
        return Turn(
            now=now,
            watching_since=since,
            watched=now - since >= self._lease,
            unwatched=rested if rested > self._watch.gap else timedelta(),
            behind=behind,
        )

    async def _touched(self, session: AsyncSession, changed: Iterable[UUID], now: datetime) -> set[UUID]:
        """Deployments that a change of the catalog touches: what is active, and what is to be kept warm."""
        algorithms = list(changed)
        warm = {revision: algorithm for algorithm in algorithms if (revision := self._catalog.warm(algorithm))}
        if warm:
            rows = [
                {
                    "id": revision,
                    "kind": DeploymentKind.ON_DEMAND,
                    "revision_id": revision,
                    "algorithm_id": algorithm,
                    "created_at": now,
                    "changed_at": now,
                }
                for revision, algorithm in sorted(warm.items())
            ]
            await session.execute(insert(Deployment).on_conflict_do_nothing(), rows)
        active: set[UUID] = set()
        for start in range(0, len(algorithms), 1000):
            some = algorithms[start : start + 1000]
            planned = or_(Deployment.due_at.is_not(None), Deployment.replicas > 0)  # a launch may come before it
            query = select(Deployment.id).where(Deployment.algorithm_id.in_(some), planned)
            active.update((await session.execute(query)).scalars())
        return active | warm.keys()

    async def _plan_due(self, session: AsyncSession, touched: set[UUID], ordered: set[UUID], turn: Turn) -> None:
        now = turn.now
        due = await store.due(session, now, watched=turn.watched)
        launches = await self._launches.decide(session, ordered, turn)
        ids = touched.union(due, *(one.entry_ids for one in launches))
        if ids or launches:
            await self._plan(session, ids, launches, turn)
        if launches or self._publish_at is None or now >= self._publish_at:
            await self._launches.publish(session)
            self._publish_at = now + PUBLISH_EVERY
        if len(due) == store.MAX_DUE:
            after_commit(session, self.loop.wake)

    async def _plan(
        self, session: AsyncSession, ids: Collection[UUID], launches: Sequence[Decided], turn: Turn
    ) -> None:
        now = turn.now
        deployments = await store.lock(session, ids)
        await self._launches.carry_out(session, launches, deployments, now)
        await session.execute(delete(Demand).where(Demand.deployment_id.in_(ids), Demand.until < now))
        demanded = await store.demand(session, ids, now)
        rows = Rows(deployments, await store.live_replicas(session, deployments.keys()))
        failed = await store.failed_on(session, deployments.values(), now)
        view = View(
            now=now,
            watching_since=turn.watching_since,
            lease=self._lease,
            workers=await store.workers(session),
            deployments=tuple(
                store.see(
                    row,
                    self._catalog,
                    rows.replicas[key],
                    demanded.get(key),
                    failed.get(key, frozenset()),
                    behind=turn.behind,
                )
                for key, row in deployments.items()
            ),
        )
        made = plan(view)
        if made.starved:
            others, their_replicas, idle = await store.idle(session, ids, now)
            if idle:
                rows.add(others, their_replicas)
                made = plan(dataclasses.replace(view, idle=idle))
        orders = carry_out(session, self._catalog, rows, made, now)
        await session.flush()
        await self._routes.publish(session, rows.deployments.values(), rows.live(), now)
        if orders:
            after_commit(session, lambda: self._hints.send(orders))
