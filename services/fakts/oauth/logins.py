"""Logins: apps that are logged in, and their chains of refresh tokens. Nothing here commits.

A refresh token is spent by its use. A spent one is good for a short grace more, because processes that share a
credential refresh at the same time; after that it is refused, and the chain lives on with its newer tokens.

Rows are locked in one order, so that nobody waits in a circle: logins, their client, and what is published.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, rows
from libs.common.auth import LEEWAY_SECONDS
from libs.common.contracts.identity import Role
from libs.common.directory import key_hash
from services.fakts.context import Context
from services.fakts.models import (
    AuthorizationCode,
    Client,
    Login,
    Membership,
    Organization,
    RefreshToken,
    User,
)
from services.fakts.settings import MAX_ACCESS_TOKEN_SECONDS, FaktsSettings

_RANDOM_BYTES = 32
_UNDER_WAY = timedelta(minutes=1)
KEEP_CODES = timedelta(days=1)
"""How long a spent code is known, so that its second use is noticed."""


async def open_login(
    session: AsyncSession,
    context: Context,
    client: Client,
    *,
    account: User | None,
    organization: Organization | None,
    scope: str,
    nonce: str | None = None,
    authenticated_at: datetime | None = None,
    refreshes: bool = True,
    changes: rows.Changes | None = None,
) -> tuple[Login, str | None]:
    """A client is logged in. Returns the login, and its first refresh token if it gets any.

    Args:
        account: for whom it acts; None for a client that acts for itself.
        organization: which one the person picked.
        authenticated_at: when the person signed in; None for now.
        refreshes: does it get refresh tokens? If not, the login lasts as long as one access token.
        changes: of other rows, written with the login.
    """
    now = db.now()
    settings = context.settings
    seconds = settings.login_seconds if refreshes else settings.access_token_seconds + LEEWAY_SECONDS
    login = Login(
        id=uuid4(),
        client_id=client.id,
        account_id=account.id if account else None,
        organization_id=organization.id if organization else None,
        scope=scope,
        nonce=nonce,
        authenticated_at=authenticated_at or now,
        created_at=now,
        used_at=now,
        ends_at=now + timedelta(seconds=seconds),
    )
    changes = {client: {"last_login_at": now}, **(changes or {})}
    if not refreshes:
        await rows.write(session, login, changes=changes)
        return login, None
    token, link = _link(context, login)
    await rows.write(session, login, link, changes=changes)
    return login, token


def use(login: Login, client: Client) -> None:
    """The client goes on with a login that it has."""
    login.used_at = client.last_login_at = db.now()


def go_on(login: Login, settings: FaktsSettings) -> None:
    """A login that was opened without refresh tokens gets them from now on."""
    login.ends_at = login.created_at + timedelta(seconds=settings.login_seconds)


async def acts_for(session: AsyncSession, client: Client) -> tuple[User | None, Organization | None]:
    """The account that a client acts for, and the organization that was picked for it."""
    account = await session.get(User, client.account_id) if client.account_id is not None else None
    organization = await session.get(Organization, client.organization_id) if client.organization_id else None
    return account, organization


async def end(session: AsyncSession, context: Context, login: Login) -> None:
    """The login is over, everywhere within a second. Idempotent."""
    await _end(session, context, Login.id == login.id)


async def end_client(session: AsyncSession, context: Context, client: Client) -> None:
    """Revoke a client with all its logins, everywhere within a second. It never logs in again. Idempotent."""
    await end_clients(session, context, [client])


async def end_clients(session: AsyncSession, context: Context, clients: Sequence[Client]) -> None:
    """As `end_client`, at once: one after the other would lock the next logins after what is published."""
    now, ids = db.now(), [client.id for client in clients]
    await session.execute(_ending(now, Login.client_id.in_(ids)))
    living = select(Client.id).where(Client.id.in_(ids), Client.ended_at.is_(None)).order_by(Client.id)
    locked = living.with_for_update(key_share=True).scalar_subquery()
    await session.execute(update(Client).where(Client.id.in_(locked)).values(ended_at=now))
    for client in clients:
        await session.refresh(client, ["ended_at"])
    await context.feed.publish_ended(session, ids, until=_last_token(now))


async def end_of_mandate(session: AsyncSession, context: Context, mandate_id: UUID) -> None:
    """What logged in with a mandate's key is logged in no more. A client may come back with another key."""
    of_mandate = select(Client.id).where(Client.mandate_id == mandate_id)
    await _end(session, context, Login.client_id.in_(of_mandate))


async def end_of(session: AsyncSession, context: Context, client_id: UUID, account: User) -> None:
    """All logins of a client that act for an account are over, everywhere within a second. Idempotent."""
    await _end(session, context, (Login.client_id == client_id) & (Login.account_id == account.id))


async def add_refresh_token(session: AsyncSession, context: Context, login: Login) -> str:
    """The next link of the chain. Only its digest is kept."""
    token, link = _link(context, login)
    await rows.write(session, link)
    return token


async def of_refresh_token(session: AsyncSession, token: str) -> tuple[Login, RefreshToken] | None:
    """The login of a refresh token, and the token's row, both locked until the transaction ends."""
    digest = key_hash(token)
    found = select(Login).join(RefreshToken, RefreshToken.login_id == Login.id).where(RefreshToken.digest == digest)
    login = await session.scalar(found.with_for_update(of=Login).execution_options(populate_existing=True))
    if login is None:
        return None
    row = await session.get(RefreshToken, digest, populate_existing=True, with_for_update=True)
    return (login, row) if row is not None else None


def usable(row: RefreshToken, settings: FaktsSettings, now: datetime) -> bool:
    """Is the refresh token good: alive, and unspent or within the grace?"""
    grace = timedelta(seconds=settings.refresh_grace_seconds)
    return row.expires_at > now and (row.spent_at is None or now - row.spent_at <= grace)


def spend(row: RefreshToken, now: datetime) -> None:
    """The grace begins with the first use, and further uses do not prolong it."""
    if row.spent_at is None:
        row.spent_at = now


async def why_over(session: AsyncSession, login: Login, now: datetime) -> str | None:
    """Why a login is good no more, in words; None while it is."""
    if login.ended_at is not None:
        return "This login was ended."
    if login.ends_at <= now:
        return "This login has lasted as long as it may; log in again."
    if login.account_id is not None and not (await session.get_one(User, login.account_id)).active:
        return "The account that this app acts for is not active any more."
    if login.organization_id is not None and not await _is_member(session, login):
        return "The account that this app acts for is not in the organization any more."
    return None


async def of_sid(session: AsyncSession, sid: str) -> Login | None:
    """The login that an access token names."""
    try:
        return await session.get(Login, UUID(sid))
    except ValueError:
        return None


async def consented(session: AsyncSession, client: Client, account: User, scopes: Iterable[str]) -> Login | None:
    """A living login in which the account let the client have at least these scopes."""
    living = select(Login).where(
        Login.client_id == client.id,
        Login.account_id == account.id,
        Login.ended_at.is_(None),
        Login.ends_at > db.now(),
    )
    wanted = set(scopes)
    logins: Sequence[Login] = (await session.scalars(living.order_by(Login.created_at.desc()))).all()
    return next((login for login in logins if wanted <= set(login.scope.split())), None)


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget what is over: logins, with their codes and refresh tokens, and those that cannot be used any more."""
    over = or_(Login.ends_at < now, Login.ended_at < now - KEEP_CODES)
    await session.execute(delete(Login).where(over))
    await session.execute(delete(RefreshToken).where(RefreshToken.expires_at < now))
    await session.execute(delete(AuthorizationCode).where(AuthorizationCode.expires_at < now - KEEP_CODES))


def _link(context: Context, login: Login) -> tuple[str, RefreshToken]:
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    now = db.now()
    expires = min(now + timedelta(seconds=context.settings.refresh_token_seconds), login.ends_at)
    return token, RefreshToken(digest=key_hash(token), login_id=login.id, issued_at=now, expires_at=expires)


async def _end(session: AsyncSession, context: Context, which: ColumnElement[bool]) -> None:
    now = db.now()
    ended = (await session.scalars(_ending(now, which).returning(Login.id))).all()
    await context.feed.publish_ended(session, ended, until=_last_token(now))


def _ending(now: datetime, which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
    """The statement that ends logins. Its rows are locked in one order, whoever runs it."""
    locked = select(Login.id).where(which, Login.ended_at.is_(None)).order_by(Login.id).with_for_update()
    return update(Login).where(Login.id.in_(locked.scalar_subquery())).values(ended_at=now)


def _last_token(now: datetime) -> datetime:
    """When the last access token is over, one that is being issued at this moment included.

    Tokens that were issued under an earlier setting may live longer than today's.
    """
    return now + timedelta(seconds=MAX_ACCESS_TOKEN_SECONDS + LEEWAY_SECONDS) + _UNDER_WAY


async def _is_member(session: AsyncSession, login: Login) -> bool:
    counts = select(Membership.role).where(
        Membership.organization_id == login.organization_id,
        Membership.user_id == login.account_id,
        Membership.role.in_(list(Role)),
    )
    return await session.scalar(counts) is not None
