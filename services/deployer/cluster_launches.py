"""Launches in clusters: each is brought on, kept so, and ended by one deployer at a time.

Rows say what was ordered, what is aimed at and where something of a launch may be; the cluster says the rest. A look
at a launch is one round: take its lease and what is new of orders, do one step in the cluster, write down what came
of it. Whoever dies on the way, the next look, of whichever deployer, goes on. What the cluster tells of changes only
makes the next look come sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, lease, logs
from libs.common.contracts.launches import UNFINISHED, LaunchOrder, LaunchState
from libs.common.db import Database, Moment, after_commit
from libs.common.lease import LeaseLost, new_token
from libs.common.loops import Loop
from services.deployer import clusters, events, launch_plan, launches
from services.deployer.cluster_looks import ClusterLooks
from services.deployer.cluster_watch import ClusterWatch
from services.deployer.clusters import Clusters, Place, Seen
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.problems import ClusterError
from services.deployer.kubernetes.satellite import Unfit
from services.deployer.launch_orders import LaunchOrders
from services.deployer.launch_plan import LaunchView
from services.deployer.launches import Launches
from services.deployer.models import Launch, LaunchDeployment
from services.deployer.satellite_source import Images, NotYet, SatelliteSource

log = logs.get(__name__)

EVERY_SECONDS = 1.0
UNFINISHED_SECONDS = 2.0
"""How often a launch on the way is looked at."""
UNWATCHED_SECONDS = 30.0
"""One that was not looked at for longer was looked after by nobody."""
WORK_SECONDS = 90.0
LEASE_SECONDS = 100.0
RELEASE_SECONDS = 5.0
MAX_DUE = 100
_FIGURES = re.compile(r"\d+")
_PLACED = text("launches.places <> '[]'")
_SERVING = frozenset({LaunchState.DEPLOYED, LaunchState.ROLLED_BACK})


@dataclass(frozen=True)
class Task:
    """What is to be done for a launch in its cluster.

    Attributes:
        keep: the order that is to run there.
        images: those that it runs with; None until they were found.
        end: places in which nothing of it is to be.
        settled: it ran as it should.
    """

    launch_id: UUID
    deployment_id: UUID
    token: str
    keep: LaunchOrder | None
    images: Images | None
    end: Sequence[Place]
    paused: bool
    settled: bool


@dataclass(frozen=True)
class Result:
    images: Images | None = None
    found: Observation | None = None
    obstacle: str | None = None
    ended: Sequence[Place] = ()


class ClusterLaunches:
    """Looks after all launches in clusters. Any number of processes may run one.

    Args:
        look: how often one that runs as it should is looked at.
    """

    def __init__(
        self,
        database: Database,
        orders: LaunchOrders,
        launches: Launches,
        source: SatelliteSource,
        clusters: Clusters,
        *,
        look: timedelta,
        clock: Moment = db.moment,
    ) -> None:
        self._database = database
        self._orders = orders
        self._launches = launches
        self._source = source
        self._clusters = clusters
        self._look = look
        self._clock = clock
        self.loop = Loop("cluster launches", self.begin, every=EVERY_SECONDS)
        self.watch = ClusterWatch(clusters, self.loop.wake)
        self._looks = ClusterLooks(self._look_at, self._looked)
        self._hinted: set[UUID] = set()
        """Launches that changed while they were looked at."""
        self._noticed: dict[UUID, datetime] = {}
        """When it was seen that launches are due which are looked at, or have to wait for that."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """No cluster is asked any more when the context is left."""
        async with self.watch.running(), self._looks.running():
            yield

    async def begin(self) -> None:
        """Begin to look at each launch that was ordered, has changed, or was not looked at for a while. A cluster
        that does not answer keeps its own launches waiting."""
        await self.take_up()
        self._hinted |= self.watch.take_changed()
        hinted, under_way = frozenset(self._hinted), frozenset(self._looks.under_way)
        async with self._database.transaction() as session:
            now = await self._clock(session)
            due = await self._due(session, now, hinted, under_way)
            followed = frozenset(self.watch.followed)
            ended = followed - await _placed(session, followed)
        for launch_id in ended:  # whoever ended it may have been another process
            self.watch.forget(launch_id)
        self._hinted = set(hinted & under_way)
        for launch_id, places in due:
            self._noticed[launch_id] = now
            self._looks.begin(launch_id, frozenset(Place.model_validate(one).cluster for one in places))

    async def once(self) -> None:
        """As `begin`, until all were looked at."""
        await self.begin()
        await self._looks.settled()

    async def take_up(self) -> None:
        """Write down what is new of orders, so that it can be seen and is looked at next. Asks no cluster."""
        ordered = self._orders.take_changed_in_clusters()
        try:
            for launch_id in sorted(ordered):
                try:
                    async with self._database.transaction() as session:
                        row = await launches.lock(session, launch_id)
                        if (newest := self._orders.order(launch_id)) is not None:
                            await self._take_up(session, row, newest)
                    ordered.discard(launch_id)
                except Exception:  # others need not wait for it
                    log.warning("launch_not_taken_up", launch_id=str(launch_id), exc_info=True)
        finally:
            self._orders.put_back_in_clusters(ordered)

    def _looked(self, launch_id: UUID) -> None:
        self._noticed.pop(launch_id, None)
        if launch_id in self._hinted:
            self.loop.wake()

    async def _due(
        self, session: AsyncSession, now: datetime, hinted: Collection[UUID], under_way: Collection[UUID]
    ) -> Sequence[tuple[UUID, list[dict[str, str]]]]:
        """Launches to look at, with their places."""
        soon = and_(Launch.state.in_(UNFINISHED), Launch.looked_at <= now - timedelta(seconds=UNFINISHED_SECONDS))
        query = (
            select(Launch.id, Launch.places)
            .where(
                _PLACED,
                Launch.id.not_in(under_way),
                or_(Launch.looked_at.is_(None), Launch.looked_at <= now - self._look, soon, Launch.id.in_(hinted)),
                lease.free(Launch, now),
            )
            .order_by(Launch.looked_at.asc().nulls_first())
            .limit(MAX_DUE)
        )
        return [(row[0], row[1]) for row in await session.execute(query)]

    async def _look_at(self, launch_id: UUID) -> None:
        """One round, unless another deployer is at it."""
        async with self._database.transaction() as session:
            task = await self._begin(session, launch_id)
        if task is None:
            return
        try:
            async with asyncio.timeout(WORK_SECONDS):
                result = await self._work(task)
        except TimeoutError:
            result = Result(obstacle=f"its cluster did not do one step within {WORK_SECONDS:.0f} s")
        except Exception as error:  # or it would hold its lease, beyond every deadline, and tell nobody why
            log.exception("launch_not_looked_after", launch_id=str(launch_id))
            fault = f"a fault of its own, which its log tells ({type(error).__name__})"
            result = Result(obstacle=f"the deployer cannot do it by {fault}")
        except asyncio.CancelledError:  # this process ends; another one need not wait for the lease to lapse
            with contextlib.suppress(LeaseLost, TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS), self._database.transaction() as session:
                    await lease.release(session, Launch, launch_id, task.token)
            raise
        try:
            async with self._database.transaction() as session:
                if await self._end(session, task, result):
                    after_commit(session, self.loop.wake)
        except LeaseLost as lost:
            log.warning("launch_lost", launch_id=str(launch_id), reason=str(lost))

    async def _begin(self, session: AsyncSession, launch_id: UUID) -> Task | None:
        """Take the lease. None when another one has it."""
        now = await self._clock(session)
        row = await session.get_one(Launch, launch_id, with_for_update=True, populate_existing=True)
        if row.lease_until is not None and row.lease_until >= now:
            return None
        if row.deadline_at is not None:
            row.deadline_at += _unwatched(row, self._noticed.get(launch_id, now))
        order, aim = launches.order(row.order), launches.order(row.aim)
        wanted = clusters.place(aim)
        _place(row, wanted)
        row.lease_token, row.lease_until = new_token(), now + timedelta(seconds=LEASE_SECONDS)
        keep = aim if wanted is not None else None
        settled = row.state in _SERVING
        elsewhere = [one for one in _places(row) if wanted is None or not one.is_same(wanted)]
        return Task(
            launch_id=launch_id,
            deployment_id=row.deployment_id,
            token=row.lease_token,
            keep=keep,
            images=await _images(session, keep),
            end=elsewhere if settled or keep is None else (),
            paused=order is not None and order.paused,
            settled=settled,
        )

    async def _take_up(self, session: AsyncSession, row: Launch | None, newest: LaunchOrder) -> None:
        """Take the newest order up where that is to run in a cluster, and is new. The row is locked."""
        known = launches.order(row.order) if row is not None else None
        if clusters.place(newest) is None or (known is not None and not launch_plan.is_news(newest, known)):
            return
        now = await self._clock(session)
        while (step := launch_plan.advance(_view(row, newest, Result()), now)) is not None:
            row = await launches.write(session, row, newest, step, now)
            _place(row, clusters.place(step.aim))
            row.looked_at = None
        await self._launches.publish(session)

    async def _work(self, task: Task) -> Result:
        """One step in the cluster. What goes wrong is a reason."""
        images, found, obstacle = task.images, None, None
        try:
            if task.keep is not None and images is None and not task.paused:
                images = await self._source.images(task.keep)
            found = await self._keep(task, images)
            obstacle = found.obstacle if found is not None and not found.ready else None
        except (ClusterError, Unfit, NotYet) as error:
            obstacle = str(error)
        ended: list[Place] = []
        for one in task.end if not task.paused or task.keep is None else ():
            try:
                async with self._clusters.manager(one) as manager:
                    if await manager.retire(task.launch_id):
                        ended.append(one)
            except (ClusterError, Unfit) as error:
                obstacle = obstacle or f"it cannot be ended in {one.words}: {error}"
        return Result(images, found, obstacle, ended)

    async def _keep(self, task: Task, images: Images | None) -> Observation | None:
        place = clusters.place(task.keep)
        if task.keep is None or place is None:
            return None
        if task.paused or images is None:
            async with self._clusters.manager(place) as manager:
                return await manager.inspect(task.launch_id)
        satellite = await self._source.satellite(task.keep, images)
        async with self._clusters.manager(place) as manager:
            found = await manager.ensure(satellite)
        self.watch.follow(task.launch_id, place)
        return found

    async def _end(self, session: AsyncSession, task: Task, result: Result) -> bool:
        """Write down what came of it. True when there is more to be done at once."""
        now = await self._clock(session)
        row = await session.get_one(Launch, task.launch_id, with_for_update=True, populate_existing=True)
        if row.lease_token != task.token:
            raise LeaseLost(f"launch {task.launch_id} is looked after by another deployer")
        row.lease_token, row.lease_until, row.looked_at = None, None, now
        kept = [one for one in _places(row) if not any(one.is_same(gone) for gone in result.ended)]
        row.places = [one.model_dump(mode="json") for one in kept]
        if not kept:
            self.watch.forget(task.launch_id)
        if task.keep is not None and task.images is None and result.images is not None:
            pinned = await session.get_one(LaunchDeployment, task.keep.deployment_id)
            pinned.images = result.images.model_dump(mode="json")
        self._note(session, row, task, result, now)
        order = launches.order(row.order)
        if order is None or row.deployment_id != task.deployment_id or order.paused != task.paused:
            return True  # something else was ordered meanwhile
        if clusters.place(order) is None:
            return False
        step = launch_plan.advance(_view(row, order, result), now)
        if step is None:
            return bool(result.ended)
        await launches.write(session, row, order, step, now)
        await self._launches.publish(session)
        return True

    def _note(self, session: AsyncSession, row: Launch, task: Task, result: Result, now: datetime) -> None:
        """What was seen, and as events what people want to know of it."""
        before = Seen.model_validate(row.observed or {})
        after = clusters.seen(result.found, result.obstacle)
        if result.found is None and result.obstacle is not None:  # it was not seen
            after = before.model_copy(update={"obstacle": result.obstacle})
        row.observed = after.model_dump(mode="json")
        if after.obstacle is not None and _gist(after.obstacle) != _gist(before.obstacle):
            events.record_launch(session, now, row.deployment_id, after.obstacle)
        told = result.found.told if result.found is not None else ()
        repairs = told if task.settled else [one for one in told if one.startswith("set back")]
        for one in repairs:
            events.record_launch(session, now, row.deployment_id, f"repaired: {one}")


def _unwatched(row: Launch, noticed: datetime) -> timedelta:
    """For so long nobody looked after a launch, which counts against no deadline. That it has waited for its turn
    since it was noticed does count."""
    rested = noticed - (row.looked_at or row.changed_at)
    return rested if rested > timedelta(seconds=UNWATCHED_SECONDS) else timedelta()


async def _placed(session: AsyncSession, ids: Collection[UUID]) -> set[UUID]:
    """Those of which something may be in a cluster."""
    if not ids:
        return set()
    return {*(await session.execute(select(Launch.id).where(_PLACED, Launch.id.in_(ids)))).scalars()}


def _places(row: Launch) -> list[Place]:
    return [Place.model_validate(one) for one in row.places]


def _place(row: Launch, wanted: Place | None) -> None:
    """Note that something of the launch may be there."""
    if wanted is not None:
        kept = [*(one for one in _places(row) if not one.is_same(wanted)), wanted]
        row.places = [one.model_dump(mode="json") for one in kept]


def _view(row: Launch | None, newest: LaunchOrder, result: Result) -> LaunchView:
    if row is None:
        return LaunchView(newest=newest)
    view = LaunchView(
        newest=newest,
        order=launches.order(row.order),
        state=row.state,
        aim=launches.order(row.aim),
        proven=launches.order(row.proven),
        deadline_at=row.deadline_at,
        running=bool(row.places),
        obstacle=result.obstacle,
        reason=row.reason,
    )
    return replace(view, ready=result.found is not None and result.found.ready)


async def _images(session: AsyncSession, order: LaunchOrder | None) -> Images | None:
    row = await session.get(LaunchDeployment, order.deployment_id) if order is not None else None
    return Images.model_validate(row.images) if row is not None and row.images is not None else None


def _gist(obstacle: str | None) -> str:
    """Without its figures, which change while all stays the same."""
    return _FIGURES.sub("", obstacle or "")
