"""In which order to try a service's addresses, and what a challenge must be answered with. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from libs.common.contracts.joining import Alias

_SIGNED = "fakts-challenge-v1:"
_NEAR = {"loopback": 0, "lan": 1, None: 1, "public": 2, "internal": 3}
"""Reaches in the order in which to try them; `internal` is the network of a container host."""


def order(aliases: Sequence[Alias], *, same_machine: bool, in_container: bool) -> list[Alias]:
    """The addresses to try, in that order: the near ones first, else as the platform says."""
    usable = [alias for alias in aliases if same_machine or alias.reach != "loopback"]
    return sorted(usable, key=lambda alias: 1 if in_container and alias.reach == "internal" else _NEAR[alias.reach])


def signed(answer: object, nonce: str, key: object) -> bool:
    """The answer to a challenge has the signature of its nonce (Ed25519, RFC 8032)."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few deployments sign, and it is large
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    match answer, key:
        case {"signature": str(signature)}, {"kind": "ed25519", "key": str(public)}:
            try:
                owner = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
                owner.verify(base64.b64decode(signature, validate=True), f"{_SIGNED}{nonce}".encode())
            except (ValueError, InvalidSignature):
                return False
            return True
    return False
