"""Clients: apps and services that logged in, and the ids they keep. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from libs.common import db
from libs.common.contracts.joining import SERVICE_SCOPE, Manifest
from services.fakts import locks
from services.fakts.models import Account, Approval, Client, Instance, Login, Mandate
from services.fakts.preflight import approvals, mandates, manifests

RELYING_PARTY = "relying_party"
"""Kind of a client that an administrator registered, and that many people sign in to."""
FIRST_PARTY = "first_party"
"""Kind of a client that is a part of the platform."""
NO_APPS = (RELYING_PARTY, FIRST_PARTY)
"""Kinds of clients that many people sign in to: they are not let in one by one, and are given no services."""
KEEP_SERVICES = timedelta(days=7)
"""How long a service that does not come back is remembered."""
KEEP_ENDED = timedelta(days=30)
"""How long a client is remembered that was revoked, or that has no login any more and no way to get one."""


@dataclass(frozen=True)
class App:
    """A client that was let in, with the names of whom it acts for."""

    client: Client
    account: str | None
    organization: str | None


class NotThisClient(Exception):
    """The login is refused; the message says why."""


async def log_in(
    session: AsyncSession, mandate: Mandate, manifest: Manifest, scope: str, kind: str = "development"
) -> Client:
    """The client of a login. The same app on the same machine, under the same mandate, is the same client.

    A service names the id that it wants to keep, as its device; any other name of a device is its name there, as an
    app's is. Raises NotThisClient.
    """
    await locks.take(session, locks.JOINING)
    await session.refresh(mandate, ["revoked_at"])  # whoever revokes it takes the lock too
    if mandate.revoked_at is not None:
        raise NotThisClient("This key was revoked.")
    client = await _service(session, manifest) if mandate.kind == mandates.SERVICE else None
    if client is None:
        client = await session.scalar(
            select(Client).where(
                Client.mandate_id == mandate.id,
                Client.identifier == manifest.identifier,
                Client.device == manifests.device(manifest),
            )
        )
    if client is None or client.mandate_id != mandate.id:
        await _check_room(session, mandate)
    if client is None:
        client_id = _as_uuid(manifest.device_id) if mandate.kind == mandates.SERVICE else None
        client = Client(id=client_id or uuid4(), identifier=manifest.identifier)
        client.device = manifests.device(manifest) or (str(client.id) if mandate.kind == mandates.SERVICE else "")
        session.add(client)
    if client.ended_at is not None:
        raise NotThisClient("this app was revoked")
    client.mandate_id = mandate.id
    client.kind = kind
    client.approved_at = client.approved_at or db.now()
    client.version = manifest.version
    client.scope = scope
    client.manifest = manifest.model_dump(mode="json")
    client.last_login_at = db.now()
    await session.flush()
    return client


async def mandate_of(session: AsyncSession, client_id: UUID) -> Mandate | None:
    """The mandate that a client logged in with, or None for an unknown client."""
    return await session.scalar(
        select(Mandate).join(Client, Client.mandate_id == Mandate.id).where(Client.id == client_id)
    )


async def page(
    session: AsyncSession, *, search: str, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[App]:
    """Apps that were let in, oldest first. The platform's own services are none, nor is what many sign in to.

    Args:
        search: part of an app's or an account's name, in any case.
    """
    account, organization = aliased(Account), aliased(Account)
    query = (
        select(Client, account.name, organization.name)
        .outerjoin(account, account.id == Client.account_id)
        .outerjoin(organization, organization.id == Client.organization_id)
        .where(_is_app())
        .order_by(Client.created_at, Client.id)
        .limit(limit)
    )
    if search:
        names = (Client.identifier, account.name)
        query = query.where(or_(*(name.icontains(search, autoescape=True) for name in names)))
    if after is not None:
        query = query.where(tuple_(Client.created_at, Client.id) > after)
    return [App(*row) for row in await session.execute(query)]


async def find_app(session: AsyncSession, client_id: UUID) -> Client | None:
    """An app that was let in, revoked or not."""
    return await session.scalar(select(Client).where(Client.id == client_id, _is_app()))


def _is_app() -> ColumnElement[bool]:
    return Client.approved_at.is_not(None) & Client.kind.not_in(NO_APPS) & (Client.scope != SERVICE_SCOPE)


async def report(session: AsyncSession, client_id: UUID, said: dict[str, Any]) -> None:
    """Keep what a client last said about the addresses it was given."""
    await session.execute(update(Client).where(Client.id == client_id).values(report=said, reported_at=db.now()))


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget services that are long gone, and clients that cannot log in any more. Those of counted mandates and of
    redeem tokens stay: each is one of the count. Idempotent."""
    gone = (
        select(Client.id)
        .join(Mandate, and_(Mandate.id == Client.mandate_id, Mandate.kind == mandates.SERVICE))
        .outerjoin(Instance, Instance.id == Client.id)
        .where(Mandate.max_clients.is_(None), Client.last_login_at < now - KEEP_SERVICES, Instance.id.is_(None))
    )
    await session.execute(delete(Client).where(Client.id.in_(gone)))
    uncounted = Client.mandate_id.is_(None) & Client.redeem_token_id.is_(None)
    await session.execute(delete(Client).where(uncounted, Client.ended_at < now - KEEP_ENDED))
    # Who has no secret logs in by an approval, and the next one makes another client; unless a browser brings it.
    by_approval = uncounted & Client.secret_digest.is_(None) & Client.claim_digest.is_(None)
    unused = or_(
        func.coalesce(Client.last_login_at, Client.approved_at) < now - KEEP_ENDED,
        Client.last_login_at.is_(None) & (Client.redirect_uris == []) & (Client.approved_at < now - approvals.KEEP),
    )
    await session.execute(
        delete(Client).where(
            by_approval,
            unused,
            Client.kind.not_in(NO_APPS),
            ~exists().where(Login.client_id == Client.id),
            ~exists().where(Approval.client_id == Client.id),
        )
    )


async def _service(session: AsyncSession, manifest: Manifest) -> Client | None:
    wanted = _as_uuid(manifest.device_id)
    client = await session.get(Client, wanted) if wanted is not None else None
    if client is not None and client.identifier != manifest.identifier:
        raise NotThisClient(f"the device_id {wanted} belongs to another service; choose a new one")
    return client


async def _check_room(session: AsyncSession, mandate: Mandate) -> None:
    if mandate.max_clients is None:
        return
    used = await session.scalar(select(func.count()).select_from(Client).where(Client.mandate_id == mandate.id))
    if (used or 0) >= mandate.max_clients:
        raise NotThisClient(f"this key was used by as many clients as it may ({mandate.max_clients})")


def _as_uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None
