"""The standard grants of the token endpoint, as Authlib runs them: who gets an access token.

Each locks the row that it spends, so that what is good once is good once however many ask at the same time.
"""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.errors import (
    AccessDeniedError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
)
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant
from authlib.oauth2.rfc8628.errors import AuthorizationPendingError, ExpiredTokenError, SlowDownError
from authlib.oidc.core import OpenIDToken
from sqlalchemy import select

from libs.common import db, logs
from libs.common.directory import key_hash
from services.fakts.models import Approval, AuthorizationCode, Client, Login, Organization, RefreshToken, User
from services.fakts.oauth import answers, console, logins
from services.fakts.oauth.server import AUTH_METHODS, SECRET_METHODS, RegisteredClient, Request, Server, refuse, wait
from services.fakts.preflight import approvals
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.strategies.interface import Via

log = logs.get(__name__)

S256 = "S256"
_EARLY_SECONDS = 1.0
"""Clients' clocks are not ours: a poll that is that much early is in time."""


class _Opens:
    """Grants that open a login, or go on with one."""

    request: Request
    server: Server

    @property
    def row(self) -> Client:
        client: RegisteredClient = self.request.client
        return client.row

    def check(self, login: Login) -> None:
        """Refuse when the login is over, or whom it acts for is not there any more."""
        if over := wait(logins.why_over(self.server.session, login, db.now())):
            refuse(InvalidGrantError, over)

    def answer(self, login: Login, refresh_token: str | None, **more: Any) -> dict[str, Any]:
        server = self.server
        return wait(
            answers.token_answer(
                server.session,
                server.context,
                self.row,
                login,
                origin=server.origin,
                where=server.where,
                refresh_token=refresh_token,
                **more,
            )
        )

    def next_token(self, login: Login) -> str:
        """The next refresh token of a login that goes on."""
        return wait(logins.add_refresh_token(self.server.session, self.server.context, login))


class _Device:
    """An approval as the credential of a device."""

    def __init__(self, row: Approval) -> None:
        self.row = row

    def get_client_id(self) -> str:
        return str(self.row.client_id)

    def get_scope(self) -> str:
        return self.row.scope


class DeviceCode(_Opens, DeviceCodeGrant):
    """RFC 8628, for apps that a person approves."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def authenticate_token_endpoint_client(self) -> RegisteredClient:
        """What the poll needs is read at once, the client that Authlib asks for here included."""
        self._held = wait(approvals.hold(self.server.session, self.request.payload.data["device_code"], Via.DEVICE))
        client: RegisteredClient = super().authenticate_token_endpoint_client()
        return client

    def query_device_credential(self, device_code: str) -> _Device:  # noqa: ARG002 - it is held already
        if self._held is None:
            refuse(InvalidGrantError, "This device code is not known.")
        return _Device(self._held[0])

    def validate_device_credential(self, credential: _Device) -> User:
        row, now = credential.row, db.now()
        standing = approvals.standing(row, now)
        if standing is Standing.PENDING:
            polled, row.polled_at = row.polled_at, now
            interval = self.server.context.settings.device_interval_seconds
            if polled is not None and (now - polled).total_seconds() < interval - _EARLY_SECONDS:
                raise SlowDownError
            raise AuthorizationPendingError
        if standing is Standing.DENIED:
            refuse(AccessDeniedError, row.reason or approvals.DECLINED)
        if standing is Standing.EXPIRED:
            raise ExpiredTokenError
        account = wait(self._account(row))
        if standing is Standing.SPENT or account is None:
            refuse(InvalidGrantError, "This device code was used before.")
        if wait(self.server.session.get_one(Client, row.client_id)).ended_at is not None:
            refuse(InvalidGrantError, "This app was revoked.")
        return account

    def generate_token(self, user: User, scope: str, **_: Any) -> dict[str, Any]:
        login, refresh_token = wait(self._open(self.request.credential.row, user, scope))
        self.check(login)
        return self.answer(login, refresh_token)

    async def _account(self, approval: Approval) -> User | None:
        client = await self.server.session.get_one(Client, approval.client_id)
        account_id = client.account_id or approval.decided_by
        return await self.server.session.get(User, account_id) if account_id is not None else None

    async def _open(self, approval: Approval, account: User, scope: str) -> tuple[Login, str | None]:
        session = self.server.session
        organization = None
        if approval.organization_id is not None:
            organization = await session.get(Organization, approval.organization_id)
        given = self.request.client.get_allowed_scope(scope) or "" if scope else ""
        return await logins.open_login(
            session,
            self.server.context,
            self.row,
            account=account,
            organization=organization,
            scope=given,
            changes={approval: {"state": Standing.SPENT}},
        )


class _Chain:
    """A login and the refresh token that was shown for it."""

    def __init__(self, login: Login, row: RefreshToken) -> None:
        self.login, self.row = login, row

    def check_client(self, client: RegisteredClient) -> bool:
        return self.login.client_id == client.row.id

    def get_scope(self) -> str:
        return self.login.scope


class Refresh(_Opens, grants.RefreshTokenGrant):
    """RFC 6749, section 6, with a new refresh token every time."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def authenticate_refresh_token(self, refresh_token: str) -> _Chain:
        session, now = self.server.session, db.now()
        found = wait(logins.of_refresh_token(session, refresh_token))
        if found is None:
            refuse(InvalidGrantError, "This refresh token is not known; log in again.")
        login, row = found
        self.check(login)
        if not logins.usable(row, self.server.context.settings, now):
            refuse(InvalidGrantError, "This refresh token was used before or has expired; use the newest one.")
        return _Chain(login, row)

    def authenticate_user(self, refresh_token: _Chain) -> Login:
        return refresh_token.login

    def generate_token(self, user: Login, scope: str, **_: Any) -> dict[str, Any]:
        logins.use(user, self.row)
        return self.answer(user, self.next_token(user), scope=scope)

    def revoke_old_credential(self, refresh_token: _Chain) -> None:
        logins.spend(refresh_token.row, db.now())


class ClientCredentials(_Opens, grants.ClientCredentialsGrant):
    """RFC 6749, section 4.4. An app of version 1 of the Fakts protocol acts for the account that approved it."""

    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_METHODS

    def validate_requested_scope(self) -> None:
        asked = set((self.request.payload.scope or "").split())
        if not asked <= set(self.row.scope.split()):
            refuse(InvalidScopeError, f"This client may ask for: {self.row.scope or 'nothing'}.")

    def generate_token(self, scope: str | None, **_: Any) -> dict[str, Any]:
        login, no_token = wait(self._open(self.request.client.get_allowed_scope(scope)))
        self.check(login)
        return self.answer(login, no_token, envelope=False)

    async def _open(self, scope: str) -> tuple[Login, str | None]:
        session, row = self.server.session, self.row
        account, organization = await logins.acts_for(session, row)
        return await logins.open_login(
            session,
            self.server.context,
            row,
            account=account,
            organization=organization,
            scope=scope,
            refreshes=False,
        )


class _Code:
    """An authorization code and the login that it opens."""

    def __init__(self, login: Login, row: AuthorizationCode) -> None:
        self.login, self.row = login, row
        self.code_challenge, self.code_challenge_method = row.code_challenge, row.code_challenge_method

    def get_redirect_uri(self) -> str:
        """Empty where the token request need not name it (RFC 6749, section 4.1.3)."""
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return self.login.scope


class AuthorizationCodeFlow(_Opens, grants.AuthorizationCodeGrant):
    """RFC 6749, section 4.1. A code that comes again ends the login that it opened (section 10.5)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    @staticmethod
    def validate_authorization_redirect_uri(request: Request, client: RegisteredClient) -> str:
        asked = request.payload.redirect_uri or client.get_default_redirect_uri()
        if not asked or not client.check_redirect_uri(asked):
            refuse(InvalidRequestError, "redirect_uri is missing, or is none of those that the client registered.")
        return str(asked)

    def query_authorization_code(self, code: str, client: RegisteredClient) -> _Code:
        found = wait(self._locked(code))
        if found is None or found.login.client_id != client.row.id:
            refuse(InvalidGrantError, "This code is not known.")
        if found.row.spent_at is not None:
            log.warning("authorization_code_came_again", client=str(client.row.id), login=str(found.login.id))
            wait(logins.end(self.server.session, self.server.context, found.login))
            refuse(InvalidGrantError, "This code was used before; the login that it opened was ended.")
        if found.row.expires_at <= db.now():
            refuse(InvalidGrantError, "This code has expired.")
        named = self.request.payload.redirect_uri
        if not found.row.redirect_uri and named and not client.check_redirect_uri(named):
            refuse(InvalidGrantError, "This code was not sent to that redirect_uri.")
        self.check(found.login)
        return found

    def authenticate_user(self, authorization_code: _Code) -> Login:
        return authorization_code.login

    def generate_token(self, user: Login, **_: Any) -> dict[str, Any]:
        logins.use(user, self.row)
        if console.is_console(self.row):
            return self.answer(user, None)
        logins.go_on(user, self.server.context.settings)
        return self.answer(user, self.next_token(user))

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        authorization_code.row.spent_at = db.now()

    async def _locked(self, code: str) -> _Code | None:
        session = self.server.session
        statement = select(AuthorizationCode).where(AuthorizationCode.digest == key_hash(code)).with_for_update()
        row = await session.scalar(statement.execution_options(populate_existing=True))
        return _Code(await session.get_one(Login, row.login_id), row) if row is not None else None


class Pkce(CodeChallenge):
    """RFC 7636, with S256 alone. Public clients must use it (RFC 9700, section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = [S256]  # noqa: RUF012 - as Authlib has it

    def validate_code_challenge(self, grant: AuthorizationCodeFlow, redirect_uri: str) -> None:
        asked = grant.request.payload.data
        if not asked.get("code_challenge") and grant.row.secret_digest is None:
            refuse(InvalidRequestError, "A client without a secret must send code_challenge (RFC 7636).")
        if asked.get("code_challenge") and asked.get("code_challenge_method") != S256:
            refuse(InvalidRequestError, "code_challenge_method must be S256.")
        super().validate_code_challenge(grant, redirect_uri)


class OpenId(OpenIDToken):
    """The id token of a code that was asked for with the scope `openid`."""

    def process_token(self, grant: AuthorizationCodeFlow, response: tuple[int, dict[str, Any], Any]) -> None:
        server, login, body = grant.server, grant.request.authorization_code.login, response[1]
        if "openid" in login.scope.split():
            body["id_token"] = wait(
                answers.id_token(
                    server.session, server.context, grant.row, login, body["access_token"], origin=server.origin
                )
            )
