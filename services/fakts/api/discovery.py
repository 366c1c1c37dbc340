"""Where everything starts: the well-known documents, and the signing keys."""

from __future__ import annotations

from typing import Any

from libs.common import web
from libs.common.auth import public
from services.fakts.context import Ctx, RequestOrigin
from services.fakts.oauth import discovery
from services.fakts.oauth.provider import GRANT_TYPES

router = web.router(public)


@router.get("/.well-known/fakts")
async def fakts_document(context: Ctx, origin: RequestOrigin) -> dict[str, Any]:
    return discovery.fakts_document(
        origin,
        issuer=context.issuer(origin),
        name=context.settings.deployment_name,
        version=context.version,
        grants=GRANT_TYPES,
    )


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
async def oauth_document(context: Ctx, origin: RequestOrigin) -> dict[str, Any]:
    return discovery.oauth_document(origin, issuer=context.issuer(origin), grants=GRANT_TYPES)


@router.get(discovery.JWKS_PATH)
async def jwks(context: Ctx) -> dict[str, Any]:
    return await context.keys.jwks()
