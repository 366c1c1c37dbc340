"""Authlib's authorization server on fakts' rows: how it finds clients, and what it is asked and answers with.

Authlib is synchronous. It runs within `AsyncSession.run_sync`, where `wait` awaits what the use cases do.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidRequestError,
    OAuth2Error,
    UnsupportedGrantTypeError,
)
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from libs.common.directory import key_hash
from services.fakts.context import Context
from services.fakts.models import Client
from services.fakts.oauth import console
from services.fakts.oauth.clients import NO_APPS
from services.fakts.origin import Origin
from services.fakts.where import Where

logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it writes tokens

T = TypeVar("T")

SECRET_METHODS = ["client_secret_basic", "client_secret_post"]
AUTH_METHODS = [*SECRET_METHODS, "none"]
_UNKNOWN_CLIENT = "The client is not known here or was revoked, or its secret is wrong."
_WORD = re.compile(r"[\w:./-]+( [\w:./-]+)*", re.ASCII)
_NOT_IN_WORDS = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def wait(doing: Awaitable[T]) -> T:
    """The result of a use case, for Authlib's synchronous code."""
    result: T = await_only(doing)
    return result


def refuse(error: type[OAuth2Error], words: str, **more: Any) -> NoReturn:
    """Raise an OAuth error with words that a client may be shown (RFC 6749, section 5.2)."""
    raise error(description=legal_words(words), **more)


def legal_words(text: str) -> str:
    """The text, without what `error_description` may not hold (RFC 6749, section 5.2)."""
    return _NOT_IN_WORDS.sub("'", text)


@dataclass(frozen=True)
class Answer:
    """What a route of OAuth answers."""

    status: int
    body: Mapping[str, Any]
    headers: Sequence[tuple[str, str]]


class Payload(OAuth2Payload):
    """The parameters of a request, in their order."""

    def __init__(self, parameters: Sequence[tuple[str, str]]) -> None:
        self._data = dict(parameters)
        self._lists: dict[str, list[str]] = {}
        for name, value in parameters:
            self._lists.setdefault(name, []).append(value)

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> dict[str, list[str]]:
        return self._lists

    @property
    def response_type(self) -> str | None:
        return self._plain("response_type")

    @property
    def grant_type(self) -> str | None:
        return self._plain("grant_type")

    def _plain(self, name: str) -> str | None:
        """Authlib repeats these in its words, which not every character is allowed in."""
        text = self._data.get(name)
        return text if text is None or _WORD.fullmatch(text) else "malformed"


class Request(OAuth2Request):
    """A request as Authlib reads it. TLS ends at the edge, so the scheme is not looked at here."""

    def __init__(
        self,
        method: str,
        parameters: Sequence[tuple[str, str]],
        authorization: str | None = None,
        *,
        by_service: bool = False,
    ) -> None:
        super().__init__(method, "https://fakts", headers={"Authorization": authorization} if authorization else {})
        self.payload = Payload(parameters)
        self.by_service = by_service
        """A service of the platform asks."""

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class RegisteredClient(ClientMixin):
    """A client as Authlib asks about it."""

    def __init__(self, row: Client, redirect_uris: Sequence[str]) -> None:
        self.row = row
        self._redirect_uris = redirect_uris

    def get_client_id(self) -> str:
        return str(self.row.id)

    def get_default_redirect_uri(self) -> str | None:
        return self._redirect_uris[0] if len(self._redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Of what is asked for, what the client may have; all of that where it asks for nothing.

        None where it may have nothing of what it asks for: Authlib calls that an invalid scope.
        """
        allowed = self.row.scope.split()
        if not scope:
            return self.row.scope
        return " ".join(word for word in dict.fromkeys(scope.split()) if word in allowed) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self._redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        digest = self.row.secret_digest
        return digest is not None and hmac.compare_digest(digest, key_hash(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - as Authlib calls it
        """An app that came with a redeem token may speak version 2 of the Fakts protocol, which knows no secret."""
        if method != "none":
            return True  # the secret was right
        return self.row.secret_digest is None or self.row.redeem_token_id is not None

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.row.approved_at is not None

    def check_grant_type(self, grant_type: str) -> bool:
        if grant_type == DEVICE_CODE_GRANT_TYPE:
            return True  # the approval says whether
        if self.row.approved_at is None:
            return False
        if grant_type == "client_credentials":
            is_app = self.row.kind not in NO_APPS
            return self.row.secret_digest is not None and (is_app or self.row.client_credentials)
        return grant_type in ("authorization_code", "refresh_token")


class Server(AuthorizationServer):
    """For one request, in its session's transaction."""

    def __init__(self, session: AsyncSession, context: Context, origin: Origin, where: Where) -> None:
        super().__init__()
        self.session = session
        self.context = context
        self.origin = origin
        self.where = where
        self._asked: Request | None = None

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """A revoked client is none, but for the device grant: why it was denied is told there."""
        try:
            row = wait(self.session.get(Client, UUID(client_id)))
        except ValueError:
            return None
        asks_why = self._asked is not None and self._asked.payload.grant_type == DEVICE_CODE_GRANT_TYPE
        if row is None or (row.ended_at is not None and not asks_why):
            return None
        uris = [console.redirect_uri(self.origin)] if console.is_console(row) else row.redirect_uris
        return RegisteredClient(row, uris)

    def get_token_grant(self, request: Request) -> Any:
        if not request.payload.grant_type:
            refuse(InvalidRequestError, "grant_type is missing")
        try:
            return super().get_token_grant(request)
        except UnsupportedGrantTypeError as error:
            supported = ", ".join(grant.GRANT_TYPE for grant, _ in self._token_grants)
            raise OAuth2Error(f"supported here: {supported}", error=error.error) from None

    def authenticate_client(self, request: Request, methods: Sequence[str], endpoint: str = "token") -> Any:
        """Basic authentication and a secret in the form at once are what version 1 of the Fakts protocol sends: they
        are accepted if they agree."""
        try:
            basic_id, basic_secret = extract_basic_authorization(request.headers)
        except ValueError:  # not text
            refuse(InvalidClientError, _UNKNOWN_CLIENT, status_code=401)
        form = request.form
        agree = (
            form.get("client_id", basic_id) == basic_id and form.get("client_secret", basic_secret) == basic_secret
        )
        try:
            if basic_id is None or agree:
                return super().authenticate_client(request, methods, endpoint)
        except InvalidClientError:
            pass
        refuse(InvalidClientError, _UNKNOWN_CLIENT, status_code=401 if "Authorization" in request.headers else 400)

    def create_oauth2_request(self, request: Request) -> Request:
        self._asked = request
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Answer:
        return Answer(status, body or {}, headers)

    def save_token(self, token: Mapping[str, Any], request: Request) -> None:
        """Nothing to do: grants wrote the rows."""

    def send_signal(self, name: str, *args: Any, **options: Any) -> None:
        """Nobody listens."""
