"""The identity feed as a table in memory: accounts by name, keys by hash, logins that ended, trusted issuers.

Answers who a raw API key is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from libs.common.contracts.identity import Account, Ended, Key, Principal, PrincipalKind, TrustedIssuer

KEY_PREFIX = "key:"
ACCOUNT_PREFIX = "account:"
ENDED_PREFIX = "ended:"
ISSUER_PREFIX = "issuer:"


def key_hash(raw: str) -> str:
    """How API keys are stored and compared: SHA-256 in hex. Keys are random, so no slow hash is needed."""
    return hashlib.sha256(raw.encode()).hexdigest()


class Directory:
    """What the identity feed said so far. `apply` is given to a FeedFollower."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, Key] = {}
        self.key_ids: dict[UUID, str] = {}
        """The hash of each key, by the key's id."""
        self.ended: dict[str, Ended] = {}
        """Logins and clients that were revoked while access tokens of theirs live, by id."""
        self.issuers: dict[str, TrustedIssuer] = {}
        """Trusted issuers, by id."""
        self.changes = 0
        """Rises with every change, for caches built on top."""

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        self.changes += 1
        if key.startswith(KEY_PREFIX):
            digest = key[len(KEY_PREFIX) :]
            if (old := self.keys.pop(digest, None)) is not None:
                self.key_ids.pop(old.id, None)
            if body is not None:
                new = self.keys[digest] = Key.model_validate(body)
                self.key_ids[new.id] = digest
        elif key.startswith(ACCOUNT_PREFIX):
            name = key[len(ACCOUNT_PREFIX) :]
            if body is None:
                self.accounts.pop(name, None)
            else:
                self.accounts[name] = Account.model_validate(body)
        elif key.startswith(ENDED_PREFIX):
            ended = key[len(ENDED_PREFIX) :]
            if body is None:
                self.ended.pop(ended, None)
            else:
                self.ended[ended] = Ended.model_validate(body)
        elif key.startswith(ISSUER_PREFIX):
            issuer_id = key[len(ISSUER_PREFIX) :]
            if body is None:
                self.issuers.pop(issuer_id, None)
            else:
                self.issuers[issuer_id] = TrustedIssuer.model_validate(body)

    def revoked(self, claims: Mapping[str, Any]) -> bool:
        """Did the login or the client of an access token end?"""
        return claims.get("sid") in self.ended or claims.get("client_id") in self.ended

    def principal(self, raw_key: str) -> Principal | None:
        """For whom an API key acts; None for an unknown, revoked or expired one, or an inactive account."""
        key = self.keys.get(key_hash(raw_key))
        if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
            return None
        account = self.accounts.get(key.owner)
        if account is None or not account.active:
            return None
        return Principal(
            kind=PrincipalKind.ACCOUNT,
            name=account.name,
            account_id=account.id,
            key_id=key.id,
            staff=account.staff,
            admin_key=key.admin,
            session_limit=account.session_limit,
            permissions=key.permissions,
            organizations=account.organizations,
        )


def credential(authorization: str | None) -> tuple[str, str] | None:
    """Take an `Authorization` header apart: `(scheme, credential)` or None when there is none.

    Schemes: ``key`` (the bare key, `Simple KEY`, or a bearer that is no JWT), ``jwt``, ``basic`` (decoded to
    ``user:password``).
    """
    text = (authorization or "").strip()
    if not text:
        return None
    scheme, _, rest = text.partition(" ")
    rest = rest.strip()
    match scheme.lower():
        case "simple" if rest:
            return "key", rest
        case "bearer" if rest:
            return ("jwt" if rest.count(".") == 2 else "key"), rest
        case "basic" if rest:
            try:
                return "basic", base64.b64decode(rest, validate=True).decode()
            except ValueError:
                return None
    return "key", text
