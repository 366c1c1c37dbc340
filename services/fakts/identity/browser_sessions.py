"""People who are signed in with a browser. The browser alone holds the cookie, the row its digest.

Nothing here commits.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from services.fakts.models import BrowserSession, User

LIFETIME = timedelta(days=14)
_SEEN_EVERY = timedelta(minutes=1)
"""Reading a page writes no row more often than this."""
_COOKIE_BYTES = 32
_TEXT = 255


async def start(session: AsyncSession, user: User, *, provider: str | None, address: str, agent: str) -> str:
    """Sign the user in; returns the cookie's value, which nobody can show again.

    Args:
        provider: name of the upstream provider that vouched for the user; None for a password.
        address: where the browser is, as far as the edge knows.
        agent: the browser's `User-Agent`.
    """
    cookie = secrets.token_urlsafe(_COOKIE_BYTES)
    row = BrowserSession(
        digest=digest(cookie),
        account_id=user.id,
        provider=provider,
        address=address[:_TEXT],
        agent=agent[:_TEXT],
        expires_at=db.now() + LIFETIME,
    )
    session.add(row)
    await session.flush()
    return cookie


async def find(session: AsyncSession, cookie: str) -> tuple[BrowserSession, User] | None:
    """The session of a cookie and whose it is, if it is in force and the user is active."""
    now = db.now()
    query = select(BrowserSession, User).join(User, User.id == BrowserSession.account_id)
    query = query.where(BrowserSession.digest == digest(cookie), BrowserSession.expires_at > now, User.active)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        return None
    row, user = found
    if row.seen_at < now - _SEEN_EVERY:
        # A statement of its own: whoever ends the session at the same moment leaves nothing to update, and no error.
        seen = update(BrowserSession).where(BrowserSession.digest == row.digest).values(seen_at=now)
        await session.execute(seen.execution_options(synchronize_session=False))
    return row, user


async def of_user(session: AsyncSession, user: User) -> Sequence[BrowserSession]:
    """Those in force, the last seen first."""
    query = select(BrowserSession).where(BrowserSession.account_id == user.id, BrowserSession.expires_at > db.now())
    return (await session.scalars(query.order_by(BrowserSession.seen_at.desc(), BrowserSession.digest))).all()


async def end(session: AsyncSession, user: User, known_as: str) -> None:
    """End one of the user's sessions, by its digest. Idempotent."""
    await session.execute(
        delete(BrowserSession).where(BrowserSession.account_id == user.id, BrowserSession.digest == known_as)
    )


async def end_all(session: AsyncSession, user: User, *, but: str | None = None) -> None:
    """End the user's sessions, all but one if its digest is given."""
    query = delete(BrowserSession).where(BrowserSession.account_id == user.id)
    if but is not None:
        query = query.where(BrowserSession.digest != but)
    await session.execute(query)


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget those that have expired."""
    await session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))


def digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
