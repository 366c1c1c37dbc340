"""Letting a client in: it may log in from now on. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, logs
from libs.common.contracts.joining import Alias, Manifest
from libs.common.directory import key_hash
from libs.common.problems import Conflict, Forbidden
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.identity import accounts
from services.fakts.models import Client, Organization, User
from services.fakts.oauth import logins
from services.fakts.preflight import eligibility, instances, manifests
from services.fakts.preflight.composition import Composition
from services.fakts.preflight.strategies.interface import Approve
from services.fakts.where import zone_of

log = logs.get(__name__)

_SOMEWHERE = Alias(id="self", host="localhost")
"""Stands for the public address where only its being there counts."""


def new_client(manifest: Manifest, scope: str, kind: str, client_id: UUID | None = None) -> Client:
    """A client that may not log in yet."""
    return Client(
        id=client_id or uuid4(),
        identifier=manifest.identifier,
        device=manifests.device(manifest),
        version=manifest.version,
        kind=kind,
        scope=scope,
        manifest=manifest.model_dump(mode="json"),
        declined=[],
        redirect_uris=[],
    )


def give_secrets(context: Context, client: Client) -> None:
    """The client speaks protocol 1: it claims its configuration with a token, and logs in with a secret."""
    client.secret_digest = key_hash(context.master.client_secret(client.id))
    client.claim_digest = key_hash(context.master.claim_token(client.id))


async def lock(session: AsyncSession, client: Client) -> None:
    """Whoever lets the same app in on the same machine waits until this transaction ends, so that it sees this one.

    Without a name of the machine there is nothing earlier to end, and nothing to wait for.
    """
    if client.device:
        await locks.take(session, f"{locks.ADMITTING} {client.identifier} {client.device}")


def let_in(client: Client, user: User, organization: Organization | None, declined: Sequence[str] = ()) -> None:
    """The client acts for the user, and in the organization if there is one."""
    client.account_id = user.id
    client.organization_id = organization.id if organization is not None else None
    client.declined = list(dict.fromkeys(declined))
    client.approved_at = db.now()


async def end_earlier(session: AsyncSession, context: Context, client: Client) -> None:
    """The same app is on the same machine once: what it was approved as before ends.

    Without a name of the machine nobody knows that. Whoever calls this holds the `lock`.
    """
    if not client.device:
        return
    earlier = await session.scalars(
        select(Client)
        .where(
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
        .order_by(Client.id)
    )
    if found := earlier.all():
        await logins.end_clients(session, context, found)


async def named(session: AsyncSession, decision: Approve, rule: str) -> tuple[User, Organization | None]:
    """Whom a rule lets an app act for, and in which organization. Raises Forbidden when they are not here."""
    user = await accounts.find(session, decision.account)
    organization = await eligibility.find(session, decision.organization) if decision.organization else None
    if user is None or (decision.organization and await eligibility.role_of(session, organization, user) is None):
        log.error("rule_names_nobody", rule=rule, account=decision.account, organization=decision.organization)
        raise Forbidden(f"The rule '{rule}' cannot let this app in: whom it should act for is not here.")
    return user, organization


async def check_offered(session: AsyncSession, client: Client, address: str, declined: Sequence[str] = ()) -> None:
    """Raises Conflict when a service is not offered that the client cannot do without."""
    if missing := (await composition(session, client, address, declined)).missing:
        raise Conflict(not_offered(missing))


async def composition(session: AsyncSession, client: Client, address: str, declined: Sequence[str]) -> Composition:
    """What the client would get from that address, but for the public address of the platform."""
    requirements = Manifest.model_validate(client.manifest).requirements or ()
    zone = zone_of(address)
    return await instances.resolve_for_app(session, requirements, zone=zone, platform=_SOMEWHERE, declined=declined)


def not_offered(services: Sequence[str]) -> str:
    return f"This deployment offers no {', '.join(services)}."
