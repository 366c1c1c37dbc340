"""Access tokens: RS256 JWTs that any service checks by itself (RFC 7519, RFC 9068)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from services.fakts.oauth.keys import SigningKeys

AUDIENCE = "constellation"


@dataclass(frozen=True)
class Holder:
    """Whom a token is for."""

    login_id: str
    client_id: str
    client_app: str
    """The manifest's identifier."""
    client_release: str
    """The manifest's version."""
    client_device: str
    """The machine that the manifest names, or empty."""
    scope: str
    subject: str
    """The account that the client acts for, or the client itself."""
    username: str
    roles: Sequence[str] = ()
    organization: tuple[str, str] | None = None
    """Id and name of the one that the account picked."""
    audience: Sequence[str] = ()
    """Instances of services that the client was given, besides the platform."""


async def issue(session: AsyncSession, keys: SigningKeys, holder: Holder, *, issuer: str, seconds: int) -> str:
    """A signed token that is good for `seconds`."""
    now = int(time.time())
    organization_id, organization = holder.organization or (None, None)
    return await keys.sign(
        session,
        {
            "iss": issuer,
            "sub": holder.subject,
            "aud": [AUDIENCE, *holder.audience] if holder.audience else AUDIENCE,
            "iat": now,
            "exp": now + seconds,
            "jti": str(uuid4()),
            "sid": holder.login_id,
            "client_id": holder.client_id,
            "client_app": holder.client_app,
            "client_release": holder.client_release,
            "client_device": holder.client_device or None,
            "scope": holder.scope,
            "preferred_username": holder.username,
            "roles": list(holder.roles),
            "active_org": organization,
            "org": organization_id,
        },
    )
