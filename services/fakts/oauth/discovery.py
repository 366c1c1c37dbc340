"""What fakts says about itself: the Fakts protocol's well-known document, and OAuth's (RFC 8414). Pure.

One document serves both versions of the protocol: the older clients follow `base_url`, the newer ones the endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.common.contracts import scopes
from services.fakts.oauth import claims
from services.fakts.origin import Origin

PROTOCOL_VERSION = "2"
BASE_PATH = "/lok/f/"
AUTHORIZE_PATH = "/o/authorize/"
TOKEN_PATH = "/o/token/"  # noqa: S105 - a path, not a secret
JWKS_PATH = "/o/jwks/"
REVOKE_PATH = "/o/revoke/"
INTROSPECT_PATH = "/o/introspect/"
USERINFO_PATH = "/o/userinfo/"
LOGOUT_PATH = "/o/logout/"
APP_PATH = "/o/app-authorization/"
"""Where apps of the Fakts protocol start, and registered clients the device grant (RFC 8628)."""
DEVICE_SECONDS = 900
AUTHENTICATION = ("none", "client_secret_basic", "client_secret_post")


def fakts_document(origin: Origin, *, issuer: str, name: str, version: str, grants: Sequence[str]) -> dict[str, Any]:
    """`/.well-known/fakts`. All endpoints are on the origin that was asked."""
    return {
        "name": name,
        "version": version,
        "protocol_version": PROTOCOL_VERSION,
        "description": None,
        "base_url": f"{origin.url}{BASE_PATH}",
        "frontend_url": f"{origin.url}/",
        "configure": f"{origin.url}/configure/{{code}}",
        "configure_url": f"{origin.url}/configure/",
        "issuer": issuer,
        "device_authorization_endpoint": f"{origin.url}{APP_PATH}",
        "token_endpoint": f"{origin.url}{TOKEN_PATH}",
        "revocation_endpoint": f"{origin.url}{REVOKE_PATH}",
        "jwks_uri": f"{origin.url}{JWKS_PATH}",
        "grant_types_supported": list(grants),
        "token_endpoint_auth_methods_supported": list(AUTHENTICATION),
    }


def oauth_document(origin: Origin, *, issuer: str, grants: Sequence[str]) -> dict[str, Any]:
    """`/.well-known/oauth-authorization-server`, which also serves as `/.well-known/openid-configuration`."""
    confidential = [method for method in AUTHENTICATION if method != "none"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{origin.url}{AUTHORIZE_PATH}",
        "device_authorization_endpoint": f"{origin.url}{APP_PATH}",
        "token_endpoint": f"{origin.url}{TOKEN_PATH}",
        "revocation_endpoint": f"{origin.url}{REVOKE_PATH}",
        "introspection_endpoint": f"{origin.url}{INTROSPECT_PATH}",
        "userinfo_endpoint": f"{origin.url}{USERINFO_PATH}",
        "end_session_endpoint": f"{origin.url}{LOGOUT_PATH}",
        "jwks_uri": f"{origin.url}{JWKS_PATH}",
        "scopes_supported": list(scopes.WORDS),
        "claims_supported": list(claims.SUPPORTED),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(grants),
        "token_endpoint_auth_methods_supported": list(AUTHENTICATION),
        "revocation_endpoint_auth_methods_supported": list(AUTHENTICATION),
        "introspection_endpoint_auth_methods_supported": confidential,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
