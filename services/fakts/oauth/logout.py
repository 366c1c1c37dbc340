"""Signing out from an application (OpenID Connect RP-Initiated Logout 1.0): who asks, and where people go then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from authlib.common.urls import add_params_to_uri
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import Invalid
from services.fakts.context import Context
from services.fakts.models import Client, User
from services.fakts.oauth import relying_parties
from services.fakts.origin import Origin

KEPT = ("client_id", "post_logout_redirect_uri", "state")
"""Parameters that say where the person goes."""


@dataclass(frozen=True)
class Wanted:
    """What an application asks for."""

    client: Client | None
    back: str | None
    """Where the browser goes once nobody is signed in with it, with the application's state."""
    hint: Mapping[str, Any] | None
    """Claims of an id token of this platform, which the application showed. It may have expired."""


async def read(session: AsyncSession, context: Context, origin: Origin, parameters: Mapping[str, str]) -> Wanted:
    """Raises Invalid for what nobody may be sent on with; the person is told, and stays where they are."""
    hint = await context.keys.read(session, parameters.get("id_token_hint", ""))
    if hint is not None and hint.get("iss") != context.issuer(origin):
        hint = None
    named, client_id = parameters.get("client_id"), str(hint["aud"]) if hint is not None else None
    if named is not None and client_id not in (None, named):
        raise Invalid("the app that sent you here showed an id token of another app")
    client = await _find(session, named or client_id)
    uri = parameters.get("post_logout_redirect_uri")
    if uri is None:
        return Wanted(client, None, hint)
    if client is None:
        raise Invalid("the app that sent you here did not say which one it is; it needs id_token_hint or client_id")
    if uri not in client.post_logout_redirect_uris:
        raise Invalid(f"'{uri[:100]}' is no address that '{client.identifier}' registered to go back to")
    state = parameters.get("state")
    return Wanted(client, add_params_to_uri(uri, {"state": state}) if state else uri, hint)


def is_of_session(hint: Mapping[str, Any] | None, user: User, signed_in_at: datetime) -> bool:
    """Was the id token given to an app in this very session of the browser? Else the person must say so."""
    if hint is None:
        return False
    return hint.get("sub") == str(user.id) and hint.get("auth_time") == int(signed_in_at.timestamp())


async def _find(session: AsyncSession, client_id: str | None) -> Client | None:
    try:
        return await relying_parties.find(session, UUID(client_id or ""))
    except ValueError:
        return None
