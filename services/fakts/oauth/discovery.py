"""What fakts says about itself: the Fakts protocol's well-known document, and OAuth's (RFC 8414). Pure.

One document serves both versions of the protocol: the older clients follow `base_url`, the newer ones the endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.fakts.origin import Origin

PROTOCOL_VERSION = "2"
BASE_PATH = "/lok/f/"
TOKEN_PATH = "/o/token/"  # noqa: S105 - a path, not a secret
JWKS_PATH = "/o/jwks/"
APP_PATH = "/o/app-authorization/"
"""Where apps of the Fakts protocol start."""
_CLIENT_AUTHENTICATION = ["none"]


def fakts_document(origin: Origin, *, issuer: str, name: str, version: str, grants: Sequence[str]) -> dict[str, Any]:
    """`/.well-known/fakts`. All endpoints are on the origin that was asked."""
    return {
        "name": name,
        "version": version,
        "protocol_version": PROTOCOL_VERSION,
        "description": None,
        "base_url": f"{origin.url}{BASE_PATH}",
        "issuer": issuer,
        "token_endpoint": f"{origin.url}{TOKEN_PATH}",
        "jwks_uri": f"{origin.url}{JWKS_PATH}",
        "grant_types_supported": list(grants),
        "token_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
    }


def oauth_document(origin: Origin, *, issuer: str, grants: Sequence[str]) -> dict[str, Any]:
    """`/.well-known/oauth-authorization-server`, which also serves as `/.well-known/openid-configuration`."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{origin.url}{TOKEN_PATH}",
        "jwks_uri": f"{origin.url}{JWKS_PATH}",
        "grant_types_supported": list(grants),
        "token_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
