"""What a launch runs, for those who follow no feeds: its order, and the feeds cut down to it.

The same order gives the same plan, as long as nobody changes the accounts and keys in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.launches import BundleTarget, KeySet, LaunchEntry, LaunchOrder, OrderAction
from libs.common.contracts.satellites import SatellitePlan
from libs.common.directory import ACCOUNT_PREFIX, KEY_PREFIX, Directory
from libs.common.problems import Conflict, NotFound
from services.registry import catalog, launch_fields
from services.registry.models import AcceptedKeys, Algorithm, Launch, Order, Satellite, SatelliteVersion


async def of_order(session: AsyncSession, launch: Launch, order: Order) -> LaunchOrder:
    """An order with all that it means."""
    satellite = await session.get_one(Satellite, launch.satellite_id)
    version = await session.get_one(SatelliteVersion, (satellite.id, order.satellite_version))
    return LaunchOrder(
        deployment_id=order.deployment_id,
        launch_id=launch.id,
        number=order.number,
        revision=order.revision,
        action=order.action,
        satellite_id=satellite.id,
        satellite=satellite.name,
        satellite_version=version.number,
        name=launch.name,
        entries=_entries(version),
        keys=version.keys,
        target=launch_fields.TARGET.validate_python(order.target),
        paused=order.paused,
        by=order.by,
        at=order.at,
    )


async def of_bundle(session: AsyncSession, launch: Launch) -> LaunchOrder:
    """What a bundle of a launch holds: the version that it is configured with, wherever else that was ordered to run.

    Nobody orders a bundle; it is that of the same satellite version each time.
    """
    satellite = await session.get_one(Satellite, launch.satellite_id)
    version = await session.get_one(SatelliteVersion, (satellite.id, launch.satellite_version))
    return LaunchOrder(
        deployment_id=uuid5(launch.id, f"bundle {version.number}"),
        launch_id=launch.id,
        number=version.number,
        action=OrderAction.DEPLOY,
        satellite_id=satellite.id,
        satellite=satellite.name,
        satellite_version=version.number,
        name=launch.name,
        entries=_entries(version),
        keys=version.keys,
        target=BundleTarget(),
        by=version.created_by,
        at=version.created_at,
    )


async def render(
    session: AsyncSession,
    order: LaunchOrder,
    directory: Directory,
    *,
    images: Mapping[UUID, str],
    gateway_image: str | None,
    mothership: str | None,
) -> SatellitePlan:
    """The plan of an order.

    Args:
        directory: accounts and keys of now. Of those that the order accepts, a key that was revoked since is none.
        images: digests by revision, of those that are made.

    Raises Conflict when an algorithm of the order does not exist any more.
    """
    keys = await session.get_one(AcceptedKeys, order.keys)
    return SatellitePlan(
        order=order,
        keys=KeySet(keys=keys.keys),
        identity=_identity(directory, keys.keys),
        catalog=await _catalog(session, order),
        images={str(revision): images[revision] for revision in _revisions(order) if revision in images},
        gateway_image=gateway_image,
        mothership=mothership,
    )


async def order_named(session: AsyncSession, launch_id: UUID, deployment_id: UUID | None) -> LaunchOrder:
    """One order of a launch, the newest one if none is named. Raises NotFound."""
    query = select(Launch, Order).join(Order, Order.launch_id == Launch.id).where(Launch.id == launch_id)
    if deployment_id is not None:
        query = query.where(Order.deployment_id == deployment_id)
    found = (await session.execute(query.order_by(Order.number.desc()).limit(1))).first()
    if found is None:
        which = f"with deployment {deployment_id}" if deployment_id is not None else "that was ever deployed"
        raise NotFound(f"there is no launch {launch_id} {which}")
    return await of_order(session, found[0], found[1])


def _entries(version: SatelliteVersion) -> tuple[LaunchEntry, ...]:
    return tuple(LaunchEntry.model_validate(one) for one in version.entries)


def _revisions(order: LaunchOrder) -> list[UUID]:
    return sorted({entry.revision_id for entry in order.entries})


def _identity(directory: Directory, accepted: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Entries of the identity feed, in a fixed order."""
    found: dict[str, dict[str, Any]] = {}
    for digest in accepted:
        key = directory.keys.get(digest)
        account = directory.accounts.get(key.owner) if key is not None else None
        if key is not None and account is not None:
            found[f"{KEY_PREFIX}{digest}"] = key.model_dump(mode="json")
            found[f"{ACCOUNT_PREFIX}{account.name}"] = account.model_dump(mode="json")
    return dict(sorted(found.items()))


async def _catalog(session: AsyncSession, order: LaunchOrder) -> tuple[CatalogEntry, ...]:
    query = select(Algorithm).where(Algorithm.id.in_({entry.algorithm_id for entry in order.entries}))
    revisions = _revisions(order)
    rows = (await session.execute(query.order_by(Algorithm.id))).scalars().all()
    entries = tuple([await catalog.entry(session, row, revisions) for row in rows])
    present = {revision.id for entry in entries for revision in entry.revisions}
    if gone := [entry.algorithm for entry in order.entries if entry.revision_id not in present]:
        raise Conflict(
            f"version {order.satellite_version} of satellite '{order.satellite}' names what does not exist any more: "
            f"{', '.join(gone)}; edit the satellite and take the new version"
        )
    return entries
