"""What gateways say of their clients' addresses, and how fakts knows that it is a gateway that says it. Pure.

Where a connection comes from tells nothing: behind ports that a host publishes, and in container networks, others
come from where the gateway does. So it adds a code over the addresses, under a secret that gateways and fakts share.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]
"""As in ASGI: the names in lower case."""

ADDRESSES = b"x-forwarded-for"
CODE = b"x-constellation-edge"


def addresses(headers: Headers) -> bytes:
    """Of the client and the proxies before, the last one added by whoever is asking. Several lines are one list
    (RFC 9110, 5.3)."""
    return b", ".join(value for name, value in headers if name == ADDRESSES)


def code(secret: str, headers: Headers) -> bytes:
    """HMAC-SHA-256 of the addresses, in hexadecimal digits."""
    return hmac.digest(secret.encode(), addresses(headers), "sha256").hex().encode()


def is_vouched_for(secret: str, headers: Headers) -> bool:
    """A gateway says these addresses."""
    shown = b"".join(value for name, value in headers if name == CODE)
    return hmac.compare_digest(shown, code(secret, headers))
