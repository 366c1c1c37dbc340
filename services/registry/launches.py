"""Launch instances: which version of a satellite runs where, and the orders that bring it there.

Changing or removing a launch changes nothing that runs; an order does. Orders are rows, told to deployers by the feed
`launches` and hinted at with a job, so none is lost.
"""

from __future__ import annotations

import contextlib
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus
from libs.common.contracts.builds import BuildState
from libs.common.contracts.identity import Principal
from libs.common.contracts.jobs import DEPLOY_QUEUE, LaunchChanged
from libs.common.contracts.launches import (
    KEYS_PREFIX,
    LAUNCH_PREFIX,
    LAUNCHES_FEED,
    BundleTarget,
    KeySet,
    KubernetesTarget,
    LaunchEntry,
    LaunchState,
    OrderAction,
    Target,
)
from libs.common.db import after_commit, now
from libs.common.feed import FeedPublisher
from libs.common.pages import Page
from libs.common.problems import Conflict, NotFound, Unavailable, Unprocessable
from services.registry import launch_fields, orders, plans, satellite_entries, satellites, store
from services.registry.access import NoSuchAlgorithm
from services.registry.audit import Audit
from services.registry.launch_fields import LaunchBody, LaunchChange
from services.registry.launch_statuses import Statuses
from services.registry.models import AcceptedKeys, Build, Launch, Order, Satellite
from services.registry.pages import Paging


class Launches:
    def __init__(self, audit: Audit, publisher: FeedPublisher, bus: Bus) -> None:
        self._audit = audit
        self._publisher = publisher
        self._bus = bus

    async def create(self, session: AsyncSession, satellite_id: UUID, asked: LaunchBody, who: Principal) -> Launch:
        """Raises NotFound, Unprocessable, Conflict when the satellite has a launch of that name."""
        satellite = await satellites.locked(session, satellite_id)
        moment = now()
        row = Launch(
            id=uuid4(),
            satellite_id=satellite.id,
            satellite_version=await _version(session, satellite, asked.satellite_version),
            name=satellite_entries.name(asked.name, "launch"),
            description=asked.description,
            target=launch_fields.target(asked.target),
            created_at=moment,
            created_by=who.name,
            updated_at=moment,
        )
        session.add(row)
        await _flush(session, row)
        self._audit.record(
            session, who, "launch.create", f"{row.name} ({row.id})", f"version {row.satellite_version}"
        )
        return row

    async def change(self, session: AsyncSession, launch_id: UUID, asked: LaunchChange, who: Principal) -> Launch:
        """What runs stays as it is until the launch is deployed again. Raises as `create`."""
        row = await locked(session, launch_id)
        satellite = await _satellite(session, row)
        if asked.name is not None:
            row.name = satellite_entries.name(asked.name, "launch")
        if asked.satellite_version is not None:
            row.satellite_version = await _version(session, satellite, asked.satellite_version)
        if asked.description is not None:
            row.description = asked.description
        if asked.target is not None:
            row.target = launch_fields.target(asked.target)
        row.updated_at = now()
        await _flush(session, row)
        said = ", ".join(sorted(asked.model_dump(exclude_none=True)))
        self._audit.record(session, who, "launch.edit", f"{row.name} ({row.id})", said or None)
        return row

    async def remove(self, session: AsyncSession, launch_id: UUID, who: Principal) -> None:
        """Remove the configuration. What runs goes on, and can still be stopped. Idempotent."""
        row = await session.get(Launch, launch_id, with_for_update=True)
        if row is None or row.removed_at is not None:
            return
        row.removed_at = now()
        self._audit.record(session, who, "launch.remove", f"{row.name} ({row.id})")

    async def deploy(
        self,
        session: AsyncSession,
        launch_id: UUID,
        who: Principal,
        *,
        version: int | None = None,
        promoted_from: UUID | None = None,
    ) -> Order:
        """Order that the launch's version run, or another one, which then is the launch's.

        Raises:
            Unprocessable: there is no such version, or the target is none that deployers launch on.
            Conflict: an algorithm of the version does not exist any more, or the launch is paused or runs elsewhere.
        """
        row = await locked(session, launch_id)
        satellite = await _satellite(session, row)
        target = launch_fields.TARGET.validate_python(row.target)
        if isinstance(target, KubernetesTarget) and target.container_registry is None:
            raise Unprocessable(
                "target.container_registry: name the repository from which the cluster pulls images, such as"
                " registry.example/constellation"
            )
        if row.target["kind"] == BundleTarget().kind:
            raise Unprocessable(
                "this launch's target is a bundle: fetch it with 'constellation satellite "
                f"{satellite.id} {row.id} get KEY' and deploy it where it shall run"
            )
        await _check_free(session, row, target)
        if version is not None:
            row.satellite_version = await _version(session, satellite, version)
        await _check_built(session, satellite, row.satellite_version)
        return await self._order(session, row, OrderAction.DEPLOY, who, promoted_from=promoted_from)

    async def stop(self, session: AsyncSession, launch_id: UUID, who: Principal) -> Order:
        """Order that nothing of the launch run, which ends a pause. Works for a removed launch too.

        Raises NotFound, Conflict when it was never deployed.
        """
        row = await session.get(Launch, launch_id, with_for_update=True)
        newest = await orders.newest(session, launch_id)
        if row is None or (row.removed_at is not None and newest is None):
            raise NotFound(f"there is no launch {launch_id}")
        if newest is None:
            raise Conflict(f"launch '{row.name}' was never deployed; nothing of it runs")
        if newest.action is OrderAction.STOP:
            return newest
        return await self._order(session, row, OrderAction.STOP, who)

    async def pause(self, session: AsyncSession, launch_id: UUID, who: Principal, *, paused: bool) -> Order:
        """Nothing of the launch is started or ended while it is paused. Idempotent."""
        row = await locked(session, launch_id)
        newest = await orders.newest(session, launch_id)
        if newest is None:
            raise Conflict(f"launch '{row.name}' was never deployed")
        if newest.paused != paused:
            newest.paused, newest.revision = paused, newest.revision + 1
            self._audit.record(session, who, "launch.pause" if paused else "launch.resume", f"{row.name} ({row.id})")
            await self._tell(session, row, newest)
        return newest

    async def roll_back(
        self, session: AsyncSession, launch_id: UUID, who: Principal, *, version: int | None
    ) -> Order:
        """Deploy the version that was ordered before the one of the newest order, or the one that is named.

        Raises Conflict when there was none.
        """
        row = await locked(session, launch_id)
        if version is None:
            newest = await orders.newest(session, launch_id)
            query = (
                select(Order.satellite_version)
                .where(
                    Order.launch_id == launch_id,
                    Order.action == OrderAction.DEPLOY,
                    Order.satellite_version != (newest.satellite_version if newest is not None else 0),
                )
                .order_by(Order.number.desc())
                .limit(1)
            )
            version = (await session.execute(query)).scalar_one_or_none()
            if version is None:
                raise Conflict(f"launch '{row.name}' was deployed with no other version; name one to deploy")
        return await self.deploy(session, launch_id, who, version=version)

    async def promote(
        self, session: AsyncSession, launch_id: UUID, to: UUID, who: Principal, statuses: Statuses
    ) -> Order:
        """Deploy the version that runs of one launch with another one of the same satellite.

        Args:
            statuses: what deployers say of the first one.

        Raises as `deploy`, and:
            Conflict: not all of what was ordered last runs.
            Unprocessable: the other one is of another satellite.
            Unavailable: no deployer says what runs.
        """
        row = await get(session, launch_id)
        newest = await orders.newest(session, launch_id)
        if newest is None or newest.action is OrderAction.STOP:
            raise Conflict(f"nothing of launch '{row.name}' is deployed, so there is nothing to promote")
        other = await get(session, to)
        if other.satellite_id != row.satellite_id or other.id == row.id:
            raise Unprocessable("promote to another launch of the same satellite")
        _check_deployed(row, newest, statuses)
        return await self.deploy(session, to, who, version=newest.satellite_version, promoted_from=row.id)

    async def _order(
        self,
        session: AsyncSession,
        row: Launch,
        action: OrderAction,
        who: Principal,
        *,
        promoted_from: UUID | None = None,
    ) -> Order:
        newest = await orders.newest(session, row.id)
        order = Order(
            deployment_id=uuid4(),
            launch_id=row.id,
            number=newest.number + 1 if newest is not None else 1,
            action=action,
            satellite_version=row.satellite_version
            if action is OrderAction.DEPLOY or newest is None
            else newest.satellite_version,
            target=row.target if action is OrderAction.DEPLOY or newest is None else newest.target,
            paused=False,
            promoted_from=promoted_from,
            by=who.name,
            at=now(),
        )
        session.add(order)
        said = f"version {order.satellite_version}"
        if promoted_from is not None:
            said += f", promoted from {promoted_from}"
        self._audit.record(session, who, f"launch.{action.value}", f"{row.name} ({row.id})", said)
        await self._tell(session, row, order)
        return order

    async def _tell(self, session: AsyncSession, row: Launch, order: Order) -> None:
        """Publish the launch's newest order. The last thing that a transaction does."""
        said = await plans.of_order(session, row, order)
        keys = await session.get_one(AcceptedKeys, said.keys)
        await session.flush()
        key_set = KeySet(keys=keys.keys).model_dump(mode="json")
        await self._publisher.publish(session, LAUNCHES_FEED, f"{KEYS_PREFIX}{said.keys}", key_set)
        key = f"{LAUNCH_PREFIX}{row.id}"
        await self._publisher.publish(session, LAUNCHES_FEED, key, said.model_dump(mode="json"))
        job = LaunchChanged(launch_id=row.id, deployment_id=order.deployment_id)
        after_commit(session, lambda: self._bus.send(DEPLOY_QUEUE, job))


async def get(session: AsyncSession, launch_id: UUID) -> Launch:
    """Raises NotFound."""
    return _present(await session.get(Launch, launch_id), launch_id)


async def ever(session: AsyncSession, launch_id: UUID) -> Launch:
    """A launch, removed or not. Raises NotFound when there never was one."""
    row = await session.get(Launch, launch_id)
    if row is None:
        raise NotFound(f"there is no launch {launch_id}")
    return row


async def locked(session: AsyncSession, launch_id: UUID) -> Launch:
    """Its row, locked until the transaction ends. Raises NotFound."""
    row = await session.get(Launch, launch_id, with_for_update=True, populate_existing=True)
    return _present(row, launch_id)


async def page(
    session: AsyncSession, paging: Paging, *, satellite_id: UUID | None, search: str | None
) -> Page[Launch]:
    """By name; of one satellite, those that have a text in name or description."""
    query = select(Launch).where(Launch.removed_at.is_(None))
    if satellite_id is not None:
        query = query.where(Launch.satellite_id == satellite_id)
    if search:
        wanted = func.lower(search)
        query = query.where(
            or_(
                func.strpos(func.lower(Launch.name), wanted) > 0,
                func.strpos(func.lower(Launch.description), wanted) > 0,
            )
        )
    if paging.after is not None:
        name, key = paging.after
        query = query.where(tuple_(func.lower(Launch.name), Launch.id) > tuple_(func.lower(name), key))
    query = query.order_by(func.lower(Launch.name), Launch.id).limit(paging.limit + 1)
    rows = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda one: (one.name, one.id))


async def _satellite(session: AsyncSession, row: Launch) -> Satellite:
    return await session.get_one(Satellite, row.satellite_id)


async def _version(session: AsyncSession, satellite: Satellite, number: int | None) -> int:
    """Raises Unprocessable when the satellite has no such version."""
    try:
        return (await satellites.version(session, satellite, number)).number
    except NotFound as fault:
        raise Unprocessable(fault.detail) from None


async def _check_free(session: AsyncSession, row: Launch, target: Target) -> None:
    """Raises Conflict when the launch is paused, or was ordered to run elsewhere, where nobody would end it."""
    newest = await orders.newest(session, row.id)
    if newest is not None and newest.paused:
        raise Conflict(f"launch '{row.name}' is paused, so nothing of it is started or ended; resume it first")
    if newest is None or newest.action is OrderAction.STOP:
        return
    before = _place(launch_fields.TARGET.validate_python(newest.target))
    if before != _place(target):
        raise Conflict(
            f"launch '{row.name}' runs {before}; stop it before it is deployed to run {_place(target)}, or make"
            " another launch for that"
        )


def _check_deployed(row: Launch, newest: Order, statuses: Statuses) -> None:
    """Raises Conflict when what runs is not what was ordered last, Unavailable when no deployer says what does."""
    if statuses is None:
        raise Unavailable(f"no deployer answers, so it is not known what runs of launch '{row.name}'; try again")
    status = statuses.get(row.id)
    state = status.state if status is not None and status.deployment_id == newest.deployment_id else None
    if state is LaunchState.DEPLOYED:
        return
    said = "its deployment has not begun" if state is None else f"it is {state.value.replace('_', ' ')}"
    serving = status.serving_version if status is not None else None
    runs = f"version {serving} runs" if serving is not None else "nothing runs"
    raise Conflict(
        f"launch '{row.name}' was ordered to run version {newest.satellite_version}, but {said}, and {runs};"
        " only what is deployed is promoted. Deploy the other launch with the version that it is to have"
    )


def _place(target: Target) -> str:
    """In words."""
    if isinstance(target, KubernetesTarget):
        return f"in namespace '{target.namespace}' of cluster '{target.cluster}'"
    return "on workers"


async def _check_built(session: AsyncSession, satellite: Satellite, number: int) -> None:
    """Raises Conflict when something that the version names does not exist any more. What exists cannot be deleted
    before the transaction ends; who deletes it then finds the order."""
    entries = [
        LaunchEntry.model_validate(one) for one in (await satellites.version(session, satellite, number)).entries
    ]
    for algorithm_id in sorted({entry.algorithm_id for entry in entries}):
        with contextlib.suppress(NoSuchAlgorithm):  # nor has it builds
            await store.locked(session, algorithm_id)
    query = select(Build.id).where(
        Build.id.in_([entry.revision_id for entry in entries]), Build.state == BuildState.SUCCEEDED
    )
    present = set((await session.execute(query)).scalars())
    gone = [entry.algorithm for entry in entries if entry.revision_id not in present]
    if gone:
        raise Conflict(
            f"version {number} of satellite '{satellite.name}' names what does not exist any more: {', '.join(gone)}"
            "; edit the satellite and deploy the new version"
        )


async def _flush(session: AsyncSession, row: Launch) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict(f"the satellite has a launch '{row.name}' already") from None


def _present(row: Launch | None, launch_id: UUID) -> Launch:
    if row is None or row.removed_at is not None:
        raise NotFound(f"there is no launch {launch_id}")
    return row
