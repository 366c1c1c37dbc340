"""Checking who asks: access tokens against the published keys, API keys against the identity feed.

Issuing is fakts' work. Everything here is decided locally; only an unknown signing key or an unknown API key
makes a service ask fakts, once for all that wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from libs.common.contracts import scopes
from libs.common.contracts.identity import Principal, PrincipalKind
from libs.common.contracts.joining import SERVICE_PREFIX, SERVICE_SCOPE
from libs.common.contracts.satellites import reported
from libs.common.directory import Directory, credential
from libs.common.foreign_tokens import Exchange, ForeignTokens
from libs.common.problems import Forbidden, Unauthenticated

FetchKeys = Callable[[], Awaitable[dict[str, Any]]]
Refresh = Callable[[], Awaitable[bool]]

LEEWAY_SECONDS = 30
_ALGORITHMS = ["RS256"]


class TokenVerifier:
    """Verifies RS256 access tokens (RFC 7519, RFC 9068) against a JWKS that is fetched when needed.

    Args:
        min_interval: seconds between the end of a fetch and the next.
        max_age: keys older than that are fetched anew. Who asks does not wait for it: a publisher that hangs must
            not keep up everybody whose token the keys at hand are good for.
    """

    def __init__(
        self,
        fetch: FetchKeys,
        *,
        min_interval: float = 1.0,
        max_age: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._min_interval = min_interval
        self._max_age = max_age
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a valid token, else None."""
        age = self._clock() - self._fetched
        if age > 2 * self._max_age and not self._failing:  # nobody asked for long, so nothing was fetched meanwhile
            await self._refresh(self._fetched)
        elif age > self._max_age:
            self._begin()
        for attempt in (1, 2):
            seen = self._fetched
            try:
                decoded = jwt.decode(token, self._keys or KeySet([]), algorithms=_ALGORITHMS)
                registry = jwt.JWTClaimsRegistry(
                    leeway=LEEWAY_SECONDS, exp={"essential": True}, sub={"essential": True}
                )
                registry.validate(decoded.claims)
                return dict(decoded.claims)
            except (JoseError, ValueError):
                if attempt == 2 or not await self._refresh(seen):
                    return None
        return None

    async def _refresh(self, seen: float) -> bool:
        """Fetch the keys anew, once for all that ask meanwhile, and not again at once.

        Args:
            seen: when the keys that did not do were fetched. Newer ones need no further fetch.

        Returns: are there other keys than those?
        """
        if self._fetched <= seen and (fetching := self._begin()) is not None:
            await asyncio.wait((fetching,))
        return self._fetched > seen

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or one that begins; None so soon after the last."""
        if self._fetching is None and self._clock() - self._tried >= self._min_interval:
            self._fetching = asyncio.create_task(self._take_keys())
        return self._fetching

    async def _take_keys(self) -> None:
        try:
            self._keys = KeySet.import_key_set(await self._fetch())  # type: ignore[arg-type]
            self._fetched, self._failing = self._clock(), False
        except Exception:  # fakts does not answer: the keys at hand stay good
            self._failing = True
        finally:
            self._tried = self._clock()
            self._fetching = None


class Authenticator:
    """Turns an `Authorization` header into a principal.

    Args:
        refresh: catches up with the identity feed.
        exchange: asks fakts for whom a trusted issuer's token is; None accepts the platform's own tokens only.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        directory: Directory,
        *,
        refresh: Refresh | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self._verifier = verifier
        self._directory = directory
        self._refresh = refresh
        self.foreign = ForeignTokens(directory, exchange, refresh)

    async def authenticate(self, authorization: str | None) -> Principal | None:
        """The principal, or None when there is no header.

        Raises:
            Unauthenticated: the credential is bad.
            Unavailable: fakts must be asked about it, and does not answer.
        """
        found = credential(authorization)
        if found is None:
            return None
        scheme, value = found
        principal = None
        if scheme == "key":
            principal = await self.of_key(value)
        elif scheme == "jwt" and self.foreign.trusts(value):
            principal = await self.foreign.find(value)
        elif scheme == "jwt" and (claims := await self._verifier.claims(value)) is not None:
            principal = self.of_claims(claims)
        if principal is None:
            raise Unauthenticated("the key or token is not known here, or was revoked or has expired")
        return principal

    async def of_key(self, raw: str) -> Principal | None:
        """Who an API key is. An unknown one is confirmed with fakts: it may be a second old."""
        principal = self._directory.principal(raw)
        if principal is None and self._refresh is not None and await self._refresh():
            principal = self._directory.principal(raw)
        return principal

    def of_claims(self, claims: dict[str, Any]) -> Principal | None:
        """Who an access token of this platform is for: a service, a satellite that reports, or an account.

        None for a revoked one, and for a token of another kind: an id token has no scope.
        """
        if "scope" not in claims or self._directory.revoked(claims):
            return None
        given = frozenset(str(claims.get("scope", "")).split())
        subject = str(claims["sub"])
        if SERVICE_SCOPE in given and str(claims.get("client_app", "")).startswith(SERVICE_PREFIX):
            return Principal(
                kind=PrincipalKind.SERVICE,
                name=str(claims["client_app"]).removeprefix(SERVICE_PREFIX),
                instance=str(claims.get("client_id", "")),
            )
        if scopes.REPORT in given and (satellite := _satellite(claims)) is not None:
            return satellite
        account = self._directory.accounts.get(str(claims.get("preferred_username", subject)))
        if account is None or not account.active or str(account.id) != subject:
            return None
        return Principal(
            kind=PrincipalKind.ACCOUNT,
            name=account.name,
            account_id=account.id,
            staff=account.staff and scopes.administers(given),
            session_limit=account.session_limit,
            permissions=scopes.permissions_of(given),
            organizations=account.organizations,
            scopes=given,
        )


def _satellite(claims: dict[str, Any]) -> Principal | None:
    """The launch whose gateways hold the token. An app that acts for somebody is none, whatever it calls itself:
    only who made the mandate says so."""
    app, client = str(claims.get("client_app", "")), str(claims.get("client_id", ""))
    if reported(app) is None or str(claims["sub"]) != client:
        return None
    return Principal(kind=PrincipalKind.SATELLITE, name=app, instance=client, scopes=frozenset({scopes.REPORT}))


async def caller(request: Request) -> Principal | None:
    """Who asks, or None when the request says nothing. Raises Unauthenticated for a bad credential."""
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.authenticate(request.headers.get("authorization"))


OptionalCaller = Annotated[Principal | None, Depends(caller)]


async def known(principal: OptionalCaller) -> Principal:
    if principal is None:
        raise Unauthenticated("authorization required")
    return principal


Caller = Annotated[Principal, Depends(known)]


async def service_only(principal: Caller) -> Principal:
    if not principal.is_service:
        raise Forbidden("this route is for services of the platform")
    return principal


async def account_only(principal: Caller) -> Principal:
    if principal.kind is not PrincipalKind.ACCOUNT:
        raise Forbidden("this route is for users")
    if principal.scopes is not None and not scopes.reads(principal.scopes):
        raise Forbidden(f"this token may not do this; it needs the scope {scopes.CALL} or {scopes.MANAGE}")
    return principal


async def manager_only(principal: Caller) -> Principal:
    """An account that may manage algorithms, or an administrator."""
    await account_only(principal)
    if not (principal.is_admin or principal.permissions.allow_algo_management):
        raise Forbidden(
            f"this token may not manage algorithms; it needs the scope {scopes.MANAGE}"
            if principal.scopes is not None
            else "this key may not manage algorithms; use one that has 'allow_algo_management'"
        )
    return principal


async def admin_only(principal: Caller) -> Principal:
    if principal.kind is not PrincipalKind.ACCOUNT or not principal.is_admin:
        raise Forbidden(
            f"this route is for administrators; use an admin key, or a token with the scope {scopes.ADMIN}"
        )
    return principal


async def reporter_only(principal: Caller) -> Principal:
    """A satellite, or an administrator. The route sees to it that a satellite reports of itself only."""
    if principal.kind is not PrincipalKind.SATELLITE:
        return await admin_only(principal)
    return principal


async def public() -> None:
    """The route is for everybody. Stands where another route has its gate, so that none has none."""


GATES = frozenset({public, known, account_only, manager_only, admin_only, service_only, reporter_only})
"""Every route has one of these among its dependencies; a test walks all of them."""
