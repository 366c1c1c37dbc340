"""Revocation (RFC 7009) and introspection (RFC 7662), as Authlib runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from services.fakts.context import Context
from services.fakts.models import Client, Login, RefreshToken
from services.fakts.oauth import logins, people
from services.fakts.oauth.server import AUTH_METHODS, SECRET_METHODS, RegisteredClient, Request, Server, refuse, wait


@dataclass(frozen=True)
class Token:
    """A token of either kind, with its login. Authlib asks it what it is."""

    login: Login
    claims: dict[str, Any] | None
    """Of an access token."""
    refresh: RefreshToken | None
    over: bool

    def check_client(self, client: RegisteredClient) -> bool:
        return self.login.client_id == client.row.id

    def is_expired(self) -> bool:
        return self.over

    def is_revoked(self) -> bool:
        return self.over


async def access_token(session: AsyncSession, context: Context, text: str) -> Token | None:
    """An access token of this platform, checked against the rows; None for what is none, or has expired."""
    claims = await context.keys.claims(session, text) if text.count(".") == 2 else None
    if claims is None or "scope" not in claims:  # an id token has no scope
        return None
    login = await logins.of_sid(session, str(claims.get("sid", "")))
    return Token(login, claims, None, over=await _over(session, login)) if login is not None else None


class Revocation(RevocationEndpoint):
    """Either token ends its login, with all its other tokens. An unknown one is no error."""

    CLIENT_AUTH_METHODS = AUTH_METHODS
    server: Server

    def check_params(self, request: Request, client: RegisteredClient) -> None:  # noqa: ARG002 - as Authlib calls it
        _check_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:  # noqa: ARG002 - each kind looks different
        return wait(_find(self.server, token_string))

    def revoke_token(self, token: Token, request: Request) -> None:  # noqa: ARG002 - as Authlib calls it
        wait(logins.end(self.server.session, self.server.context, token.login))


class Introspection(IntrospectionEndpoint):
    """For clients that have a secret, and services of the platform: any token."""

    CLIENT_AUTH_METHODS = SECRET_METHODS
    server: Server

    def authenticate_endpoint_client(self, request: Request) -> Any:
        if request.by_service:
            return None
        client = super().authenticate_endpoint_client(request)
        if client.row.approved_at is None:
            raise InvalidClientError(description="This client was not let in.", status_code=401)
        return client

    def check_params(self, request: Request, client: Any) -> None:  # noqa: ARG002 - as Authlib calls it
        _check_token(request)

    def check_permission(self, token: Token, client: Any, request: Request) -> bool:  # noqa: ARG002 - who may ask, may ask about all
        return True

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:  # noqa: ARG002 - each kind looks different
        return wait(_find(self.server, token_string))

    def introspect_token(self, token: Token) -> dict[str, Any]:
        if token.claims is not None:
            return {
                "active": True,
                "token_type": "Bearer",
                "username": token.claims["preferred_username"],
                **token.claims,
            }
        return wait(self._of_refresh_token(token))

    async def _of_refresh_token(self, token: Token) -> dict[str, Any]:
        session, login, refresh = self.server.session, token.login, token.refresh
        assert refresh is not None  # noqa: S101 - a token is of one of two kinds
        client = await session.get_one(Client, login.client_id)
        person = await people.of_login(session, login)
        return {
            "active": True,
            "client_id": str(client.id),
            "sub": str(person.account.id if person is not None else client.id),
            "username": person.account.name if person is not None else client.identifier,
            "scope": login.scope,
            "sid": str(login.id),
            "iat": int(refresh.issued_at.timestamp()),
            "exp": int(refresh.expires_at.timestamp()),
        }


def _check_token(request: Request) -> None:
    """The hint of the token's type is not needed, whatever it says."""
    if not request.form.get("token"):
        refuse(InvalidRequestError, "token is missing")


async def _find(server: Server, text: str) -> Token | None:
    found = await logins.of_refresh_token(server.session, text)
    if found is None:
        return await access_token(server.session, server.context, text)
    login, refresh = found
    alive = logins.usable(refresh, server.context.settings, db.now()) and not await _over(server.session, login)
    return Token(login, None, refresh, over=not alive)


async def _over(session: AsyncSession, login: Login) -> bool:
    client = await session.get_one(Client, login.client_id)
    return client.ended_at is not None or await logins.why_over(session, login, db.now()) is not None
