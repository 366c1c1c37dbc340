"""The apps that act for one user: those that the user let in for itself, and those that many sign in to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.problems import NotFound
from services.fakts.context import Context
from services.fakts.models import Client, Login, Organization, User
from services.fakts.oauth import logins
from services.fakts.oauth.clients import FIRST_PARTY


@dataclass(frozen=True)
class OwnApp:
    client: Client
    organization: str | None
    """Name of the organization that the user picked."""
    scope: str
    used_at: datetime | None
    """When the app last got a token; None if it never did."""


async def page(session: AsyncSession, user: User) -> Sequence[OwnApp]:
    """Those in force, the last used first. What is a part of the platform is none."""
    living = (
        select(Login)
        .ext(distinct_on(Login.client_id))
        .where(Login.account_id == user.id, Login.ended_at.is_(None), Login.ends_at > db.now())
        .order_by(Login.client_id, Login.used_at.desc())
        .subquery()
    )
    query = (
        select(Client, Organization.name, living.c.scope, living.c.used_at)
        .outerjoin(living, living.c.client_id == Client.id)
        .outerjoin(Organization, Organization.id == func.coalesce(living.c.organization_id, Client.organization_id))
        .where(
            Client.ended_at.is_(None),
            Client.approved_at.is_not(None),
            Client.kind != FIRST_PARTY,
            or_(Client.account_id == user.id, living.c.client_id.is_not(None)),
        )
        .order_by(func.coalesce(living.c.used_at, Client.approved_at).desc(), Client.id)
    )
    rows = (await session.execute(query)).all()
    return [OwnApp(client, name, scope or client.scope, used_at) for client, name, scope, used_at in rows]


async def revoke(session: AsyncSession, context: Context, user: User, client_id: UUID) -> str:
    """End an app of the user's; returns its identifier. One that others use too loses the user's logins only.

    Raises NotFound.
    """
    client = await session.get(Client, client_id)
    mine = select(Login.id).where(Login.client_id == client_id, Login.account_id == user.id, Login.ended_at.is_(None))
    living = await session.scalar(mine.limit(1))
    if client is None or not (client.account_id == user.id or living):
        raise NotFound("you have no such app; it may have been revoked already")
    if client.account_id == user.id:
        await logins.end_client(session, context, client)
    else:
        await logins.end_of(session, context, client_id, user)
    return client.identifier
