"""Checking tokens of trusted issuers: RS256 JWTs (RFC 7519), signed with the issuer's key, for this platform."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from libs.common import logs
from libs.common.auth import TokenVerifier
from libs.common.contracts.identity import Vouched
from libs.common.db import Database
from libs.common.foreign_tokens import issuer_of
from libs.common.problems import Unauthenticated
from services.fakts import locks
from services.fakts.audit import Audit
from services.fakts.identity import claims, issuers, upstream
from services.fakts.identity.claims import ClaimNames
from services.fakts.identity.feed import IdentityFeed, account_body
from services.fakts.identity.issuers import NewIssuer
from services.fakts.models import TrustedIssuer, User
from services.fakts.outgoing import FetchFailed, Outgoing

log = logs.get(__name__)

_MAX_SUBJECT = 255
_METADATA = "/.well-known/openid-configuration"


class ForeignIssuers:
    """Says for whom tokens of trusted issuers are, and makes users that it does not know."""

    def __init__(self, database: Database, feed: IdentityFeed, audit: Audit, outgoing: Outgoing) -> None:
        self._database = database
        self._feed = feed
        self._audit = audit
        self._outgoing = outgoing
        self._verifiers: dict[UUID, TokenVerifier] = {}

    async def vouch(self, token: str) -> Vouched:
        """For whom the token is. Raises Unauthenticated with the reason."""
        async with self._database.transaction() as session:
            row = await issuers.find(session, issuer_of(token) or "")
        if row is None:
            raise Unauthenticated("the token's issuer is not trusted here")
        said = await self._claims(row, token)
        subject = _subject(said)
        async with self._database.transaction() as session:
            user = await upstream.find(session, row.issuer, subject)
        if user is None:
            user = await self._admit(row, subject, said)
        if not user.active:
            raise Unauthenticated(f"the account '{user.name}' is no longer active")
        async with self._database.transaction() as session:
            account = await account_body(session, user)
        return Vouched(issuer_id=row.id, account=account, expires=float(said["exp"]))

    async def keys(self, issuer: str, jwks_uri: str | None) -> dict[str, Any]:
        """An issuer's public RSA keys for signatures (RFC 7517). Raises FetchFailed."""
        configured = jwks_uri or issuer
        if jwks_uri is None:
            metadata = await self._outgoing.json(f"{issuer.rstrip('/')}{_METADATA}", configured=issuer)
            if metadata.get("issuer") != issuer:
                raise FetchFailed(f"the metadata of {issuer} is that of another issuer")
            jwks_uri = str(metadata.get("jwks_uri", ""))
        document = await self._outgoing.json(jwks_uri, configured=configured)
        listed = document.get("keys")
        usable = [key for key in listed if _is_usable(key)] if isinstance(listed, list) else []
        if not usable:
            raise FetchFailed(f"{jwks_uri} has no RSA key for signatures")
        return {"keys": usable}

    async def check(self, new: NewIssuer) -> None:
        """Raises FetchFailed when the issuer's keys cannot be had."""
        await self.keys(new.issuer, new.jwks_uri)

    async def _claims(self, row: TrustedIssuer, token: str) -> dict[str, Any]:
        verifier = self._verifiers.get(row.id)
        if verifier is None:
            verifier = self._verifiers[row.id] = TokenVerifier(partial(self._fetch, row.issuer, row.jwks_uri))
        said = await verifier.claims(token)
        if said is None:
            raise Unauthenticated("the token has expired, or is not signed with a key of its issuer")
        audience = said.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if said.get("iss") != row.issuer or row.audience not in audiences:
            raise Unauthenticated(f"the token is not for this platform: its audience is not '{row.audience}'")
        return said

    async def _fetch(self, issuer: str, jwks_uri: str | None) -> dict[str, Any]:
        try:
            return await self.keys(issuer, jwks_uri)
        except FetchFailed as error:
            log.warning("issuer_keys_not_fetched", issuer=issuer, reason=str(error))
            raise

    async def _admit(self, row: TrustedIssuer, subject: str, said: dict[str, Any]) -> User:
        """Make the user that the token names. Raises Unauthenticated, or Conflict when no name is left for it."""
        names = ClaimNames(username=row.username_claim)
        if not claims.texts(said, names.username):
            raise Unauthenticated(f"the token does not name its user in '{row.username_claim}'")
        async with self._database.transaction() as session:
            await locks.take(session, locks.IDENTITY)
            if (known := await upstream.find(session, row.issuer, subject)) is not None:
                return known
            user = await upstream.adopt(
                session,
                self._feed,
                row.issuer,
                subject,
                names=claims.account_names(said, names),
                email=claims.email(said, names),
                fullname=claims.fullname(said, names),
            )
            await self._audit.record(
                session, actor=user.name, action="user.create", subject=user.name, detail=row.issuer
            )
            return user


def _subject(said: dict[str, Any]) -> str:
    subject = said["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise Unauthenticated("the token's 'sub' is not the name of a subject")
    return subject


def _is_usable(key: Any) -> bool:
    return isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig"
