"""The OAuth 2.0 authorization server and OpenID provider, put together: one function per endpoint.

Authlib's parts are synchronous, so each runs in a greenlet on the request's session (`AsyncSession.run_sync`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.joining import Manifest
from libs.common.problems import Forbidden
from services.fakts.context import Context
from services.fakts.oauth.clients import RELYING_PARTY
from services.fakts.oauth.discovery import DEVICE_SECONDS
from services.fakts.oauth.endpoints import Introspection, Revocation
from services.fakts.oauth.grants import AuthorizationCodeFlow, ClientCredentials, DeviceCode, OpenId, Pkce, Refresh
from services.fakts.oauth.headless import MandateKey, Redeem
from services.fakts.oauth.server import AUTH_METHODS, Answer, RegisteredClient, Request, Server, refuse
from services.fakts.origin import Origin
from services.fakts.preflight import starts
from services.fakts.preflight.starts import Asked
from services.fakts.preflight.strategies.interface import Via
from services.fakts.where import Where

_GRANTS = (DeviceCode, Refresh, ClientCredentials, AuthorizationCodeFlow, MandateKey, Redeem)
GRANT_TYPES = tuple(grant.GRANT_TYPE for grant in _GRANTS)


async def token(session: AsyncSession, context: Context, origin: Origin, where: Where, request: Request) -> Answer:
    """The token endpoint (RFC 6749, section 3.2). Raises OAuth2Error."""
    server = _server(session, context, origin, where)
    return await session.run_sync(lambda _: _answer(server.create_token_response(request)))


async def revoke(session: AsyncSession, context: Context, origin: Origin, where: Where, request: Request) -> Answer:
    """The revocation endpoint (RFC 7009)."""
    server = _server(session, context, origin, where)
    return await session.run_sync(lambda _: _answer(server.create_endpoint_response("revocation", request)))


async def introspect(
    session: AsyncSession, context: Context, origin: Origin, where: Where, request: Request
) -> Answer:
    """The introspection endpoint (RFC 7662)."""
    server = _server(session, context, origin, where)
    return await session.run_sync(lambda _: _answer(server.create_endpoint_response("introspection", request)))


async def check_authorization_request(
    session: AsyncSession, context: Context, origin: Origin, where: Where, request: Request
) -> tuple[RegisteredClient, str, str]:
    """The client, scope and redirect URI of a request to the authorization endpoint.

    Raises:
        OAuth2Error: with `redirect_uri` once that can be trusted.
    """
    server = _server(session, context, origin, where)
    grant = await session.run_sync(lambda _: server.get_consent_grant(request))
    return grant.request.client, grant.request.scope, grant.redirect_uri


async def authorize_device(
    session: AsyncSession, context: Context, origin: Origin, where: Where, request: Request
) -> Mapping[str, Any]:
    """The device authorization endpoint (RFC 8628, section 3.1), for registered clients. Raises OAuth2Error."""
    server = _server(session, context, origin, where)
    server.create_oauth2_request(request)
    client: RegisteredClient = await session.run_sync(
        lambda _: server.authenticate_client(request, AUTH_METHODS, "device_authorization")
    )
    if client.row.kind != RELYING_PARTY:
        refuse(InvalidClientError, "This endpoint is for clients that an administrator registered.")
    scope = client.get_allowed_scope(request.payload.scope)
    if scope is None:
        refuse(InvalidScopeError, f"This client may ask for: {client.row.scope or 'nothing'}.")
    try:
        started = await starts.ask(
            session,
            context,
            Asked(
                via=Via.DEVICE,
                manifest=Manifest.model_validate(client.row.manifest),
                where=where,
                seconds=DEVICE_SECONDS,
                scope=scope,
                kind=client.row.kind,
                client=client.row,
            ),
        )
    except Forbidden as refusal:
        refuse(InvalidClientError, refusal.detail)
    page = f"{origin.url}/configure"
    return {
        "device_code": started.secret,
        "user_code": started.code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}/{started.code}",
        "expires_in": DEVICE_SECONDS,
        "interval": context.settings.device_interval_seconds,
    }


def _server(session: AsyncSession, context: Context, origin: Origin, where: Where) -> Server:
    server = Server(session, context, origin, where)
    for grant in _GRANTS:
        extensions = [Pkce(required=True), OpenId()] if grant is AuthorizationCodeFlow else []
        server.register_grant(grant, extensions)
    server.register_endpoint(Revocation)
    server.register_endpoint(Introspection)
    return server


def _answer(answer: Any) -> Answer:
    assert isinstance(answer, Answer)  # noqa: S101 - what `Server.handle_response` makes
    return answer
