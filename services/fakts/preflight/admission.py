"""Letting a client in: it may log in from now on. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import Alias, Manifest
from services.fakts.context import Context
from services.fakts.models import Client, Organization, User
from services.fakts.oauth import logins
from services.fakts.preflight import instances
from services.fakts.preflight.composition import Composition
from services.fakts.where import zone_of

_SOMEWHERE = Alias(id="self", host="localhost")
"""Stands for the public address where only its being there counts."""


async def let_in(
    session: AsyncSession,
    context: Context,
    client: Client,
    user: User,
    organization: Organization | None,
    declined: Sequence[str] = (),
) -> None:
    """The client acts for the user, and in the organization if there is one.

    The same app is on the same machine once: what it was approved as before ends. Without a name of the machine
    nobody knows that. Whoever calls this holds the lock `locks.JOINING`.
    """
    client.account_id = user.id
    client.organization_id = organization.id if organization is not None else None
    client.declined = list(dict.fromkeys(declined))
    client.approved_at = db.now()
    await session.flush()
    if not client.device:
        return
    earlier = await session.scalars(
        select(Client).where(
            Client.identifier == client.identifier,
            Client.device == client.device,
            Client.account_id == client.account_id,
            Client.organization_id.is_not_distinct_from(client.organization_id),
            Client.id != client.id,
            Client.approved_at.is_not(None),
            Client.ended_at.is_(None),
            Client.mandate_id.is_(None),
            Client.redeem_token_id.is_(None),
        )
    )
    for one in earlier.all():
        await logins.end_client(session, context, one)


async def composition(session: AsyncSession, client: Client, address: str, declined: Sequence[str]) -> Composition:
    """What the client would get from that address, but for the public address of the platform."""
    requirements = Manifest.model_validate(client.manifest).requirements or ()
    zone = zone_of(address)
    return await instances.resolve_for_app(session, requirements, zone=zone, platform=_SOMEWHERE, declined=declined)


def not_offered(services: Sequence[str]) -> str:
    return f"This deployment offers no {', '.join(services)}."
