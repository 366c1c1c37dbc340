"""Where services can be reached: instances with leases, and services that an administrator offers.

An instance without a lease any more is in nobody's answers. Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts import joining
from libs.common.contracts.joining import SERVICE_PREFIX, Alias, InstanceOffer, Requirement
from services.fakts.models import Instance
from services.fakts.preflight.composition import Composition, compose, within_reach
from services.fakts.where import Zone

PLATFORM = frozenset({"constellation", f"{SERVICE_PREFIX}gateway"})
"""Names under which an app may require the platform itself."""
KEEP_LAPSED = timedelta(minutes=10)
"""How long a lapsed instance stays in administrators' lists."""


async def offer(session: AsyncSession, instance_id: UUID, offered: InstanceOffer, *, seconds: float) -> None:
    """An instance of the platform is alive: it is in answers for `seconds` from now. Idempotent."""
    now = db.now()
    values = {
        "version": offered.version,
        "aliases": [alias.model_dump(mode="json") for alias in offered.aliases],
        "offered_at": now,
        "lease_until": now + timedelta(seconds=seconds),
    }
    await _put(session, instance_id, offered.service, str(instance_id), external=False, values=values)


async def end(session: AsyncSession, instance_id: UUID) -> None:
    """The instance leaves. Idempotent."""
    await session.execute(delete(Instance).where(Instance.id == instance_id, Instance.external.is_(False)))


async def offer_external(
    session: AsyncSession,
    service: str,
    name: str,
    aliases: Sequence[Alias],
    challenge_key: dict[str, str] | None,
) -> None:
    """Offer a service that the platform does not run. The same instance again replaces what was said of it."""
    values = {
        "aliases": [alias.model_dump(mode="json") for alias in aliases],
        "challenge_key": challenge_key,
        "offered_at": db.now(),
    }
    await _put(session, uuid4(), service, name, external=True, values=values)


async def withdraw_external(session: AsyncSession, service: str, name: str) -> None:
    """Idempotent."""
    await session.execute(
        delete(Instance).where(Instance.service == service, Instance.name == name, Instance.external)
    )


async def resolve(session: AsyncSession, requirements: Iterable[Requirement]) -> Composition:
    """The live instances of each requirement of a service of the platform, oldest first."""
    wanted = tuple(requirements)
    return compose(wanted, await _live(session, {requirement.service for requirement in wanted}))


async def resolve_for_app(
    session: AsyncSession,
    requirements: Iterable[Requirement],
    *,
    zone: Zone,
    platform: Alias,
    declined: Collection[str] = (),
) -> Composition:
    """What an app gets: instances with the addresses that it reaches from where it is.

    The platform itself may be required too, and is at its one public address. Its other services are not for apps.

    Args:
        platform: the public address.
        declined: keys of requirements that the app was not given.
    """
    wanted = tuple(requirements)
    services = {requirement.service for requirement in wanted}
    others = {service for service in services if not service.startswith(SERVICE_PREFIX)}
    offered = {
        service: [near for one in live if (near := within_reach(one, zone)) is not None]
        for service, live in (await _live(session, others)).items()
    }
    for service in services & PLATFORM:
        offered[service] = [joining.Instance(service=service, identifier=platform.id, aliases=(platform,))]
    return compose(wanted, offered, declined)


async def page(session: AsyncSession, *, after: int, limit: int) -> Sequence[Instance]:
    """All instances, lapsed ones for a while longer, oldest first."""
    query = select(Instance).where(Instance.number > after).order_by(Instance.number).limit(limit)
    return (await session.scalars(query)).all()


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget instances that lapsed long ago."""
    await session.execute(delete(Instance).where(Instance.lease_until < now - KEEP_LAPSED))


async def _put(
    session: AsyncSession, new_id: UUID, service: str, name: str, *, external: bool, values: dict[str, Any]
) -> None:
    """Update the row, or make it. Heartbeats find theirs, and use up no number of the sequence.

    An instance may be offered twice at the same moment, so the row is made whatever it collides with: naming one
    unique index would leave collisions on the other, its id, as errors.
    """
    renewed = update(Instance).where(Instance.service == service, Instance.name == name).values(**values)
    new = insert(Instance).values(id=new_id, service=service, name=name, external=external, **values)
    for statement in (renewed, new.on_conflict_do_nothing(), renewed):
        if (await session.execute(statement.returning(Instance.id))).first() is not None:
            return


async def _live(session: AsyncSession, services: Collection[str]) -> dict[str, list[joining.Instance]]:
    if not services:
        return {}
    rows = await session.scalars(
        select(Instance)
        .where(Instance.service.in_(services), or_(Instance.lease_until.is_(None), Instance.lease_until > db.now()))
        .order_by(Instance.number)
    )
    offered: dict[str, list[joining.Instance]] = {}
    for row in rows.all():
        offered.setdefault(row.service, []).append(_on_wire(row))
    return offered


def _on_wire(row: Instance) -> joining.Instance:
    return joining.Instance(
        service=row.service,
        identifier=row.name,
        aliases=tuple(Alias.model_validate(alias) for alias in row.aliases),
        challenge_key=row.challenge_key,
    )
