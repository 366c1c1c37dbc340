"""The way back from the pages: what the browser takes to a client that sent a person to the authorization endpoint.

Codes are bound to the login that they open, to the redirect URI and to the code challenge (RFC 7636).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from authlib.common.urls import add_params_to_uri
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.directory import key_hash
from libs.common.problems import Conflict, NotFound
from services.fakts.context import Context
from services.fakts.models import Approval, AuthorizationCode, Client, User
from services.fakts.oauth import logins

APPROVED, DENIED, SPENT = "approved", "denied", "spent"
_RANDOM_BYTES = 32


async def redirect_back(
    session: AsyncSession, context: Context, approval: Approval, *, authenticated_at: datetime | None = None
) -> str:
    """Where the browser goes once a `redirect` approval is decided: with a code, or with the reason why not.

    An approval gives one code.

    Args:
        authenticated_at: when the person signed in; None for when it decided.

    Raises:
        Conflict: nobody decided yet.
        NotFound: it was answered before, or is of another kind.
    """
    await session.refresh(approval, with_for_update=True)
    asked = approval.redirect
    if asked is None or approval.state == SPENT:
        raise NotFound("there is nothing to go back to; start again from the app")
    if approval.state == DENIED:
        return _url(asked, {"error": "access_denied", "error_description": approval.reason or "The user declined."})
    if approval.state != APPROVED:
        raise Conflict("nobody decided yet")
    account = await session.get(User, approval.decided_by) if approval.decided_by is not None else None
    if account is None:
        raise NotFound("nobody approved this; start again from the app")
    client = await session.get_one(Client, approval.client_id)
    approval.state = SPENT
    moment = authenticated_at or approval.decided_at
    return await answer_with_code(session, context, client, account, asked, approval.scope, authenticated_at=moment)


async def answer_with_code(
    session: AsyncSession,
    context: Context,
    client: Client,
    account: User,
    asked: Mapping[str, Any],
    scope: str,
    *,
    authenticated_at: datetime | None,
) -> str:
    """Log the client in for the account; returns the redirect URI with a code for that login.

    Args:
        asked: `redirect` of an approval.
    """
    login = await logins.open_login(
        session,
        context,
        client,
        account=account,
        organization=organization,
        scope=scope,
        nonce=asked.get("nonce"),
        authenticated_at=authenticated_at,
    )
    code = secrets.token_urlsafe(_RANDOM_BYTES)
    session.add(
        AuthorizationCode(
            digest=key_hash(code),
            login_id=login.id,
            redirect_uri=asked["redirect_uri"],
            code_challenge=asked.get("code_challenge") or "",
            code_challenge_method=asked.get("code_challenge_method") or "",
            expires_at=db.now() + timedelta(seconds=context.settings.authorization_code_seconds),
        )
    )
    await session.flush()
    return _url(asked, {"code": code})


def _url(asked: Mapping[str, Any], answer: Mapping[str, str]) -> str:
    """The redirect URI with the answer, the client's state, and who answers (RFC 9207)."""
    state = {"state": asked["state"]} if asked.get("state") else {}
    url: str = add_params_to_uri(asked["redirect_uri"], {**answer, **state, "iss": asked["issuer"]})
    return url
