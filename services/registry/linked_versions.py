"""Versions that applications can switch to: finding them, and ordering their replicas.

Deployers know the replicas of a linked version as those of a launch with its id, whose one entry has no address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus
from libs.common.contracts.applications import reference
from libs.common.contracts.identity import Principal
from libs.common.contracts.jobs import DEPLOY_QUEUE, LaunchChanged
from libs.common.contracts.launches import (
    LAUNCH_PREFIX,
    LAUNCHES_FEED,
    LaunchEntry,
    LaunchOrder,
    OrderAction,
    WorkersTarget,
    entry_id,
)
from libs.common.db import after_commit, now
from libs.common.feed import FeedPublisher
from libs.common.problems import Unprocessable
from services.registry import application_fields
from services.registry.models import Application, LinkedVersion, LinkState


class Replicas:
    """Orders the replicas of linked versions. The application's row is locked."""

    def __init__(self, publisher: FeedPublisher, bus: Bus) -> None:
        self._publisher = publisher
        self._bus = bus

    async def start(self, session: AsyncSession, row: Application, one: LinkedVersion, who: Principal) -> LaunchOrder:
        """As many as the version should have. One that is ready already stays so: its replicas serve meanwhile."""
        if one.state is not LinkState.READY:
            one.state = LinkState.STARTING
        return await self._order(session, row, one, OrderAction.DEPLOY, who)

    async def stop(self, session: AsyncSession, row: Application, one: LinkedVersion, who: Principal) -> LaunchOrder:
        one.state = LinkState.STOPPED
        return await self._order(session, row, one, OrderAction.STOP, who)

    async def tell(self, session: AsyncSession, orders: Iterable[LaunchOrder]) -> None:
        """Publish orders. The last thing that a transaction does."""
        for order in orders:
            key = f"{LAUNCH_PREFIX}{order.launch_id}"
            await self._publisher.publish(session, LAUNCHES_FEED, key, order.model_dump(mode="json"))
            job = LaunchChanged(launch_id=order.launch_id, deployment_id=order.deployment_id)
            after_commit(session, partial(self._bus.send, DEPLOY_QUEUE, job))

    async def _order(
        self, session: AsyncSession, row: Application, one: LinkedVersion, action: OrderAction, who: Principal
    ) -> LaunchOrder:
        one.order_number += 1
        one.deployment_id = uuid4()
        await session.flush()
        entry = LaunchEntry(
            vanity_url=reference(row.name),
            owner=one.owner,
            name=one.name,
            commit=one.commit,
            algorithm_id=one.algorithm_id,
            revision_id=one.revision_id,
            replicas=one.replicas,
        )
        return LaunchOrder(
            deployment_id=one.deployment_id,
            launch_id=one.id,
            number=one.order_number,
            action=action,
            satellite_id=row.id,
            satellite=reference(row.name),
            satellite_version=one.order_number,
            name=one.version,
            entries=(entry,),
            keys="",
            target=WorkersTarget(),
            is_addressed=False,
            by=who.name,
            at=now(),
        )


def route(row: Application, one: LinkedVersion) -> UUID:
    """Key of the version's replicas in the feed `routes`."""
    return entry_id(one.id, reference(row.name))


async def of(session: AsyncSession, row: Application) -> dict[UUID, LinkedVersion]:
    """An application's versions by id, oldest link first."""
    return {one.id: one for one in await of_all(session, [row])}


async def of_all(session: AsyncSession, rows: Iterable[Application]) -> Sequence[LinkedVersion]:
    """The versions of several applications, oldest link first."""
    query = (
        select(LinkedVersion)
        .where(LinkedVersion.application_id.in_([row.id for row in rows]), LinkedVersion.unlinked_at.is_(None))
        .order_by(LinkedVersion.linked_at, LinkedVersion.id)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalars().all()


async def of_algorithm(session: AsyncSession, algorithm_id: UUID) -> list[str]:
    """Names of applications that have a version of an algorithm."""
    query = (
        select(Application.name)
        .join(LinkedVersion, LinkedVersion.application_id == Application.id)
        .where(
            LinkedVersion.algorithm_id == algorithm_id,
            LinkedVersion.unlinked_at.is_(None),
            Application.removed_at.is_(None),
        )
        .distinct()
        .order_by(Application.name)
        .limit(10)
    )
    return list((await session.execute(query)).scalars())


def named(row: Application, versions: Mapping[UUID, LinkedVersion], text: str) -> LinkedVersion:
    """The linked version that is named as `OWNER/NAME/HASH`. Raises Unprocessable."""
    version = "/".join(application_fields.version(text))
    found = next((one for one in versions.values() if one.version == version), None)
    if found is None:
        linked = ", ".join(one.version for one in list(versions.values())[-10:]) or "none"
        raise Unprocessable(f"{version} is not linked to '{row.name}'; linked are: {linked}")
    return found
