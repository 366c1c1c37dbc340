"""Who calls: from an `Authorization` header to a `Caller`.

API keys and call tokens are decided by what is in memory, and so are access tokens that were verified before. Others
are checked off the way of calls; an API key that is not known is confirmed with fakts, together with all others that
are not known at that moment.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from joserfc.util import urlsafe_b64decode

from libs.common.auth import Authenticator
from libs.common.contracts.identity import Permissions, Principal, PrincipalKind
from libs.common.directory import Directory, credential, key_hash
from libs.common.problems import Unauthenticated, Unavailable
from services.gateway.call_tokens import PREFIX, CallClaims, CallTokens, Grant, InvalidCallToken

MOST = 50_000
"""Headers and refused credentials that are remembered."""
REFUSED_SECONDS = 1.0
EVERYTHING = "algo://*"
KEYS_ONLY = "access tokens of the platform are not accepted here; call with an API key that this satellite accepts"
UNKNOWN = "the key or token is not known here, or was revoked or has expired"

Confirm = Callable[[], Awaitable[bool]]


class Caller:
    """What a call needs to know of who makes it. One per credential."""

    __slots__ = ("acl", "claims", "data", "expires", "grant", "key_id", "name", "principal")

    def __init__(
        self,
        principal: Principal,
        *,
        expires: float | None = None,
        claims: CallClaims | None = None,
        grant: Grant | None = None,
    ) -> None:
        self.principal = principal
        self.name = principal.name
        self.key_id = str(principal.key_id or "")
        self.expires = expires
        """Unix time after which the credential must be checked anew."""
        self.claims = claims
        """Of the call token, when an algorithm calls for its caller."""
        self.grant = grant
        """Of the first caller's access token, if it was one."""
        permissions = principal.permissions
        self.data = "rw" if permissions.allow_data_write else "r" if permissions.allow_data else ""
        """What the credential allows with data, as call tokens say it."""
        # A chained call is made by an algorithm that the key's holder was allowed to call.
        entries = (EVERYTHING,) if claims else permissions.algo_acl
        self.acl = None if EVERYTHING in entries else frozenset(entries)
        """None when every algorithm may be called."""

    def may_call(self, owner: str, name: str) -> bool:
        """The key's access list has the algorithm."""
        if self.acl is None:
            return True
        one = f"algo://{owner}/{name}"
        return f"algo://{owner}/*" in self.acl or f"{one}/*" in self.acl or one in self.acl


class Callers:
    """Args:
    directory: what the identity feed said.
    authenticator: verifies access tokens; None where none are accepted.
    confirm: catches up with the identity feed; False when that was not possible.
    """

    def __init__(self, directory: Directory, authenticator: Authenticator | None, confirm: Confirm) -> None:
        self._directory = directory
        self._authenticator = authenticator
        self._confirm = confirm
        self._claims: dict[bytes, Mapping[str, Any]] = {}
        """Of verified access tokens, by their digest."""
        self._refused: dict[bytes, float] = {}
        self.tokens: CallTokens | None = None
        """None until the gateway has learnt the secret."""

    @property
    def changes(self) -> int:
        """Rises when an account or key changes."""
        return self._directory.changes

    def at_hand(self, authorization: bytes) -> Caller | None:
        """The caller, if what is in memory tells; else None: see `find`.

        Raises Unauthenticated for a call token that is not good, as there is nobody to ask about it, and for an
        access token where none are accepted.
        """
        found = credential(authorization.decode("latin-1"))
        if found is None:
            return None
        scheme, value = found
        if value.startswith(PREFIX):
            return self._of_call_token(value)
        if scheme == "key" and (principal := self._directory.principal(value)) is not None:
            return Caller(principal, expires=self._key_expiry(value))
        return self._of_known_token(value, self._tokens_accepted()) if scheme == "jwt" else None

    async def find(self, authorization: bytes) -> Caller:
        """The caller.

        Raises:
            Unauthenticated: the credential is not good.
            Unavailable: this gateway knows no identities yet, or cannot ask about a trusted issuer's token.
        """
        caller = self.at_hand(authorization)
        if caller is not None:
            return caller
        text = authorization.decode("latin-1")
        digest = _digest(text)
        if self._refused.get(digest, 0.0) > time.monotonic():
            raise Unauthenticated(UNKNOWN)
        found = credential(text)
        if found is not None and found[0] == "key":
            confirmed = await self._confirm()
            caller = self.at_hand(authorization)
            if caller is None and not confirmed and not self._directory.accounts:
                raise Unavailable("the platform is starting: no accounts are known here yet")
        elif found is not None and found[0] == "jwt":
            caller = await self._of_token(found[1], authorization, self._tokens_accepted())
        if caller is None:
            if len(self._refused) >= MOST:
                self._refused.clear()
            self._refused[digest] = time.monotonic() + REFUSED_SECONDS
            raise Unauthenticated(UNKNOWN)
        return caller

    def digest(self, caller: Caller) -> str | None:
        """SHA-256 of the caller's API key; None for one with an access token."""
        key_id = caller.principal.key_id
        return self._directory.key_ids.get(key_id, "") if key_id is not None else None

    def _tokens_accepted(self) -> Authenticator:
        if self._authenticator is None:
            raise Unauthenticated(KEYS_ONLY)
        return self._authenticator

    def _of_known_token(self, token: str, authenticator: Authenticator) -> Caller | None:
        if (known := authenticator.foreign.at_hand(token)) is not None:
            return Caller(known.principal, expires=known.expires, grant=Grant(issuer=str(known.issuer_id)))
        if (claims := self._claims.get(_digest(token))) is not None:
            principal = authenticator.of_claims(dict(claims))
            if principal is not None and claims["exp"] > time.time():
                grant = Grant(str(claims.get("sid", "")), str(claims.get("client_id", "")))
                return Caller(principal, expires=float(claims["exp"]), grant=grant)
        return None

    def _of_call_token(self, token: str) -> Caller:
        if self.tokens is None:
            raise Unauthenticated(UNKNOWN)
        try:
            claims = self.tokens.verify(token, time.time())
        except InvalidCallToken as error:
            raise Unauthenticated(str(error)) from None
        account = self._directory.accounts.get(claims.account)
        held = self._held(claims)
        if account is None or not account.active or held is None or self._is_over(claims.grant):
            raise Unauthenticated(UNKNOWN)
        principal = Principal(
            kind=PrincipalKind.ALGORITHM,
            name=account.name,
            account_id=account.id,
            key_id=UUID(claims.key) if claims.key else None,
            session_limit=account.session_limit,
            permissions=Permissions(
                allow_algo=True, allow_data=held.allow_data, allow_data_write=held.allow_data_write
            ),
            organizations=account.organizations,
        )
        return Caller(principal, claims=claims, grant=claims.grant)

    def _held(self, claims: CallClaims) -> Permissions | None:
        """What the first caller's credential allows: its key as it is now, which an algorithm is no way around.

        None for a key that was revoked.
        """
        if not claims.key:
            return Permissions(allow_data="r" in claims.data, allow_data_write="w" in claims.data)
        digest = self._directory.key_ids.get(UUID(claims.key))
        return self._directory.keys[digest].permissions if digest is not None else None

    def _is_over(self, grant: Grant | None) -> bool:
        """The login, the client or the trust in the issuer has ended."""
        if grant is None:
            return False
        directory = self._directory
        is_distrusted = grant.issuer and grant.issuer not in directory.issuers
        return bool(is_distrusted) or grant.login in directory.ended or grant.client in directory.ended

    async def _of_token(self, token: str, authorization: bytes, authenticator: Authenticator) -> Caller | None:
        """An access token that was not seen before: verify it, and remember what it says."""
        try:
            principal = await authenticator.authenticate(authorization.decode("latin-1"))
        except Unauthenticated:
            return None
        if authenticator.foreign.trusts(token):  # whose claims are not the platform's
            return self.at_hand(authorization)
        claims: dict[str, Any] = orjson.loads(urlsafe_b64decode(token.split(".")[1].encode()))
        if principal is None or claims["exp"] <= time.time():
            return None
        if len(self._claims) >= MOST:
            self._claims.clear()
        self._claims[_digest(token)] = claims
        return self.at_hand(authorization)

    def _key_expiry(self, raw: str) -> float | None:
        expires = self._directory.keys[key_hash(raw)].expires_at
        return expires.timestamp() if expires else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
