"""The signature of a bundle: a compact JWS (RFC 7515) over the index's digest, with the public key in its header.

That a signature is good says that nothing was changed since it was made. Whose it is, the key's thumbprint says
(RFC 7638), which `get` checks with the mothership and people may compare.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from constellation.bundle.problems import Damaged
from libs.common.contracts.bundles import SIGNATURE_ALGORITHM, SIGNATURE_TYPE

_LONGEST = 16 * 1024


class _Registry(jws.JWSRegistry):
    """Headers here hold a key, for which the library's limit is too small."""

    max_header_length = _LONGEST


@dataclass(frozen=True)
class Signature:
    """A good one."""

    sha256: str
    """Of the index that it is for, in hex."""
    thumbprint: str
    """Of the key that it was made with."""


def read(content: bytes, name: str) -> Signature:
    """The signature in a file's content.

    Each signature has one form: a changed bit that decoders would pass over is damage too.

    Args:
        name: of the file, for what is wrong.

    Raises Damaged.
    """
    try:
        header, payload, _ = [_segment(part) for part in content[:_LONGEST].split(b".")]
        members = json.loads(header)
        if (members["typ"], members["alg"]) != (SIGNATURE_TYPE, SIGNATURE_ALGORITHM):
            raise Damaged(f"{name} is no signature of a bundle")
        key = RSAKey.import_key({part: members["jwk"][part] for part in ("kty", "n", "e")})
        jws.deserialize_compact(content, key, registry=_Registry(algorithms=[SIGNATURE_ALGORITHM]))
        kind, _, digest = payload.decode().partition(":")
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{name} is damaged: it is no good signature") from error
    if kind != "sha256":
        raise Damaged(f"{name} is the signature of something else than a bundle")
    return Signature(digest, key.thumbprint())


def is_among(thumbprint: str, jwks: object) -> bool:
    """Is the key one of a JWKS (RFC 7517)? What is no JWKS has none."""
    try:
        return any(key.thumbprint() == thumbprint for key in KeySet.import_key_set(jwks).keys)  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _segment(text: bytes) -> bytes:
    """Base64url without padding (RFC 7515, appendix C). Raises ValueError, also for the second form of the same."""
    try:
        decoded = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise ValueError("there is another form of the same")
    return decoded
