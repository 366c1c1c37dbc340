"""Access tokens: RS256 JWTs that any service checks by itself (RFC 7519, RFC 9068)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from services.fakts.oauth.keys import SigningKeys

AUDIENCE = "constellation"


@dataclass(frozen=True)
class Holder:
    """Whom a token is for."""

    client_id: str
    client_app: str
    """The manifest's identifier."""
    client_release: str
    """The manifest's version."""
    scope: str
    subject: str
    """The account that the client acts for, or the client itself."""
    username: str


async def issue(session: AsyncSession, keys: SigningKeys, holder: Holder, *, issuer: str, seconds: int) -> str:
    """A signed token that is good for `seconds`."""
    now = int(time.time())
    return await keys.sign(
        session,
        {
            "iss": issuer,
            "sub": holder.subject,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + seconds,
            "jti": str(uuid4()),
            "client_id": holder.client_id,
            "client_app": holder.client_app,
            "client_release": holder.client_release,
            "scope": holder.scope,
            "preferred_username": holder.username,
            "roles": [],
            "active_org": None,
        },
    )
