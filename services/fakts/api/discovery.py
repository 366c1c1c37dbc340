"""Where everything starts: the well-known documents, the signing keys, and the token endpoint."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import JSONResponse

from libs.common import web
from libs.common.auth import public
from libs.common.db import Session
from services.fakts.context import Ctx, RequestOrigin
from services.fakts.oauth import discovery, grants
from services.fakts.oauth.grants import GrantRefused

_MAX_FIELDS = 50
_FORM = "application/x-www-form-urlencoded"
_NOT_STORED = {"cache-control": "no-store"}

router = web.router(public)


@router.get("/.well-known/fakts")
async def fakts_document(context: Ctx, origin: RequestOrigin) -> dict[str, Any]:
    return discovery.fakts_document(
        origin,
        issuer=context.issuer(origin),
        name=context.settings.deployment_name,
        version=package_version("constellation"),
        grants=list(grants.GRANTS),
    )


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
async def oauth_document(context: Ctx, origin: RequestOrigin) -> dict[str, Any]:
    return discovery.oauth_document(origin, issuer=context.issuer(origin), grants=list(grants.GRANTS))


@router.get(discovery.JWKS_PATH)
async def jwks(context: Ctx) -> dict[str, Any]:
    return await context.keys.jwks()


@router.post(discovery.TOKEN_PATH)
async def token(request: Request, session: Session, context: Ctx, origin: RequestOrigin) -> JSONResponse:
    """OAuth's token endpoint. Who asks is in the form, so the gate is open."""
    form = await _form(request)
    return JSONResponse(await grants.answer(session, context, form, origin), headers=_NOT_STORED)


async def on_refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GrantRefused)  # noqa: S101 - registered for it
    return refusal(error)


def refusal(error: GrantRefused) -> JSONResponse:
    """An OAuth error answer."""
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, error.status, headers=_NOT_STORED)


async def _form(request: Request) -> dict[str, str]:
    """The form's fields. Raises GrantRefused for a body that is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise GrantRefused("invalid_request", f"send a form: content-type {_FORM}")
    try:
        text = (await request.body()).decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise GrantRefused("invalid_request", "the form is malformed") from None
    form = dict(fields)
    if len(form) != len(fields):
        raise GrantRefused("invalid_request", "the form names a field twice")
    return form
