"""Locks that the instances of fakts share: who writes one kind of thing waits for the others who do.

Administrative writes are rare. One at a time, they see all that came before, so a body that is published is never
older than the rows, and rules over several rows (a last owner, a last administrator) hold.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

IDENTITY = "constellation-fakts-identity"
SIGNING_KEYS = "constellation-fakts-signing-keys"
JOINING = "constellation-fakts-joining"
"""Of logins that come with a key or a token beforehand: how many clients there are is counted."""
ADMITTING = "constellation-fakts-admitting"
"""Of apps that are let in; one lock for each app on each machine, whose names follow."""
RULES = "constellation-fakts-rules"
"""Of the rules of approval, which are replaced as a whole."""


async def take(session: AsyncSession, name: str) -> None:
    """Hold the lock until the session's transaction ends."""
    await session.execute(text("select pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
