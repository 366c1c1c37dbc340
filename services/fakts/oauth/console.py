"""The web console as a client of OAuth. It is a part of the platform, so nobody is asked whether it may act for them.

It is public (RFC 6749, section 2.1) and runs on the platform's own origin, whichever of its names the browser uses.
Its logins last as long as one access token: it has no refresh tokens, and asks anew while the browser is signed in.
So a browser that is signed out has no console either. Nothing here commits.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts import scopes
from libs.common.contracts.joining import SERVICE_PREFIX, Manifest
from services.fakts.context import Context
from services.fakts.models import Client, User
from services.fakts.oauth import logins
from services.fakts.oauth.clients import FIRST_PARTY
from services.fakts.origin import Origin

CLIENT_ID = UUID("c0115011-0000-4000-8000-000000000001")
"""The same on every platform: the console's files name it."""
HOME = "/console/"
SCOPES = ("openid", "profile", scopes.ADMIN)


def is_console(client: Client) -> bool:
    return client.id == CLIENT_ID


def redirect_uri(origin: Origin) -> str:
    """Where codes go: to the origin that the browser asked, and to no other."""
    return f"{origin.url}{HOME}signed-in"


async def ensure(session: AsyncSession) -> None:
    """Make the client known. Idempotent."""
    manifest = Manifest(identifier=f"{SERVICE_PREFIX}console", version="1", scopes=SCOPES, requirements=())
    row = {
        "id": CLIENT_ID,
        "identifier": manifest.identifier,
        "device": "",
        "version": manifest.version,
        "kind": FIRST_PARTY,
        "scope": " ".join(SCOPES),
        "manifest": manifest.model_dump(mode="json"),
        "approved_at": db.now(),
    }
    await session.execute(insert(Client).values(row).on_conflict_do_nothing(index_elements=[Client.id]))


async def end_logins(session: AsyncSession, context: Context, user: User) -> None:
    """A browser of the user's was signed out. Consoles in other browsers ask anew, and notice nothing."""
    await logins.end_of(session, context, CLIENT_ID, user)
