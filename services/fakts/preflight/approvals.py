"""Approvals: attempts of apps to be let in, and how they stand. Nothing here commits.

How one begins is in `starts`, how a person decides in `decisions`, what they see of it in `views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import and_, bindparam, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.directory import key_hash
from libs.common.problems import NotFound
from services.fakts.models import Approval, Client, Organization, User
from services.fakts.preflight import codes
from services.fakts.preflight.strategies.interface import Via

NO_SUCH_CODE = "This code is not known: it is mistyped, was used, or has expired. Start again in the app."
DECLINED = "The user declined."
KEEP = timedelta(hours=1)
"""How long an attempt that is over is remembered, so that the app hears how it ended."""

_HELD = (
    select(Approval, Client, User)
    .join(Client, Client.id == Approval.client_id)
    .outerjoin(User, User.id == func.coalesce(Client.account_id, Approval.decided_by))
    .where(Approval.secret_digest == bindparam("secret"), Approval.via == bindparam("via"))
    .with_for_update(of=Approval, key_share=True)
    .execution_options(populate_existing=True)
)


class Standing(StrEnum):
    """How an attempt stands, for the app that polls."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SPENT = "spent"


def standing(approval: Approval, now: datetime) -> Standing:
    """How the attempt stands. What was decided in time and not fetched in time has expired too."""
    if approval.state in (Standing.DENIED, Standing.SPENT):
        return Standing(approval.state)
    return Standing.EXPIRED if approval.expires_at <= now else Standing(approval.state)


async def find(session: AsyncSession, code: str) -> Approval:
    """The attempt that a person may decide on, by the code they see, however they typed it.

    Raises:
        NotFound: there is none, or it is over; the words are the same.
    """
    approval = await session.scalar(
        select(Approval).where(
            Approval.code_digest == digest(code),
            Approval.state == Standing.PENDING,
            Approval.expires_at > db.now(),
        )
    )
    if approval is None:
        raise NotFound(NO_SUCH_CODE)
    return approval


async def get(session: AsyncSession, approval_id: UUID) -> Approval:
    """The attempt that a person may decide on, by its id. Raises NotFound as `find` does."""
    approval = await session.get(Approval, approval_id)
    if approval is None or standing(approval, db.now()) is not Standing.PENDING:
        raise NotFound(NO_SUCH_CODE)
    return approval


async def of_secret(session: AsyncSession, secret: str, via: Via) -> Approval | None:
    """The attempt that an app polls for, in whatever state."""
    kept = secret_digest(secret, via)
    return await session.scalar(select(Approval).where(Approval.secret_digest == kept, Approval.via == via))


async def hold(session: AsyncSession, secret: str, via: Via) -> tuple[Approval, Client, User | None] | None:
    """The attempt that an app polls for, locked until the transaction ends; its client, and whom that acts for.

    The session gives them to whoever asks for them, as long as the caller keeps them.
    """
    found = (await session.execute(_HELD, {"secret": secret_digest(secret, via), "via": via})).first()
    if found is None:
        return None
    approval, client, user = found
    if approval.state == Standing.APPROVED and client.approved_at is None:
        await session.refresh(client)  # it was let in while this waited for the lock
    return approval, client, user


async def pending(session: AsyncSession, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Approval]:
    """Apps that wait for whichever person, oldest first. Who signs in with a browser decides there and alone."""
    query = (
        select(Approval)
        .join(Client, and_(Client.id == Approval.client_id, Client.ended_at.is_(None)))
        .where(Approval.state == Standing.PENDING, Approval.expires_at > db.now(), Approval.via != Via.REDIRECT)
        .order_by(Approval.created_at, Approval.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Approval.created_at, Approval.id) > after)
    return (await session.scalars(query)).all()


async def client_of(session: AsyncSession, approval: Approval) -> Client:
    """The client that asks. Raises NotFound when it was removed meanwhile, with the words of a code that is over."""
    client = await session.get(Client, approval.client_id)
    if client is None or client.ended_at is not None:
        raise NotFound(NO_SUCH_CODE)
    return client


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget attempts that are long over, and clients that nobody let in. Idempotent."""
    await session.execute(delete(Approval).where(Approval.expires_at < now - KEEP))
    asking = select(Approval.client_id)
    await session.execute(
        delete(Client).where(
            Client.approved_at.is_(None),
            Client.mandate_id.is_(None),
            Client.created_at < now - KEEP,
            Client.id.not_in(asking),
        )
    )


def grant(approval: Approval, user: User, organization: Organization | None) -> None:
    """Let the app in, acting for the user, and in the organization if there is one."""
    approval.state = Standing.APPROVED
    approval.decided_by = user.id
    approval.decided_at = db.now()
    approval.organization_id = organization.id if organization is not None else None


def digest(code: str) -> str:
    """What is kept of a code, however somebody typed it."""
    return key_hash(codes.normal(code))


def secret_digest(secret: str, via: Via) -> str:
    """What is kept of what an app polls with; in protocol 1 that is its code."""
    return digest(secret) if via is Via.CHALLENGE else key_hash(secret)
