"""Call tokens: with one, an algorithm acts for the caller of the call that it is serving. Pure.

A token is ``cat.<claims>.<mac>``: base64url of JSON claims, and of their HMAC-SHA-256 under the secret that all
gateways share. It is good for one call: it names that call and ends with its deadline.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

PREFIX = "cat."
_BLOCK = 64
_TO_URL = bytes.maketrans(b"+/", b"-_")


class InvalidCallToken(ValueError):
    """The token was not made with this secret, is damaged, or has expired."""


class Grant(NamedTuple):
    """What the access token of a first caller rests on. Where one of these has ended, so has the token."""

    login: str = ""
    client: str = ""
    issuer: str = ""
    """Id of the trusted issuer whose token it is; empty for the platform's own."""


@dataclass(frozen=True, slots=True)
class CallClaims:
    account: str
    """Name of the account that the algorithm acts for."""
    key: str
    """Id of the API key with which that account called; empty when it signed in otherwise."""
    root: str
    """Request id of the call that started the chain."""
    parent: str
    """Request id of the call that holds this token."""
    depth: int
    """Of the call that holds this token: 1 for the one that started the chain."""
    expires: int
    """Unix time in seconds."""
    algorithm: str
    """Id of the algorithm that holds this token."""
    data: str = ""
    """What the account's credential allows with its data, where that is no key: `r`, `rw` or nothing."""
    may_chain: bool = True
    """It may call algorithms."""
    grant: Grant | None = None
    """None where the account called with a key."""


class CallTokens:
    """Mints and verifies the tokens of one secret."""

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ValueError("call tokens need a secret")
        key = secret.encode()
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        # HMAC (RFC 2104) with the keyed states made once: it costs each call half of what `hmac.digest` does.
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key.ljust(_BLOCK, b"\0")))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key.ljust(_BLOCK, b"\0")))

    def mint(
        self,
        *,
        account: str,
        key: str,
        root: str,
        parent: str,
        depth: int,
        expires: int,
        algorithm: str,
        data: str,
        may_chain: bool = True,
        grant: Grant | None = None,
    ) -> str:
        """A token with these claims (see CallClaims)."""
        claims: dict[str, Any] = {
            "a": account,
            "k": key,
            "r": root,
            "p": parent,
            "d": depth,
            "e": expires,
            "s": algorithm,
            "v": data,
            "w": may_chain,
        }
        if grant is not None:
            claims["g"] = list(grant)
        body = _encode(orjson.dumps(claims))
        return (b"cat.%b.%b" % (body, _encode(self._mac(body)))).decode()

    def verify(self, token: str, now: float) -> CallClaims:
        """What the token says. Raises InvalidCallToken.

        Args:
            now: Unix time in seconds.
        """
        parts = token.split(".")
        if len(parts) != 3 or not token.startswith(PREFIX) or not token.isascii():
            raise InvalidCallToken("not a call token")
        body = parts[1].encode()
        if not hmac.compare_digest(_encode(self._mac(body)), parts[2].encode()):
            raise InvalidCallToken("the call token was not made here")
        members = orjson.loads(urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
        claims = CallClaims(
            account=members["a"],
            key=members["k"],
            root=members["r"],
            parent=members["p"],
            depth=members["d"],
            expires=members["e"],
            algorithm=members["s"],
            data=members["v"],
            may_chain=members["w"],
            grant=Grant(*members["g"]) if "g" in members else None,
        )
        if claims.expires <= now:
            raise InvalidCallToken("the call that this token was made for is over")
        return claims

    def _mac(self, body: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        return outer.digest()


def _encode(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")
