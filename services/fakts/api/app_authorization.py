"""`POST /o/app-authorization/`: an app starts the device flow, as the Fakts protocol has it or as RFC 8628 does."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from libs.common import db, web
from libs.common.auth import public
from libs.common.openapi import OAUTH_ERRORS, either, reads_form, reads_json
from libs.common.problems import Forbidden, Problem, TooMany
from services.fakts.api.forms import NOT_STORED, form_request, is_form
from services.fakts.context import Context, Ctx, RequestOrigin, RequestWhere
from services.fakts.oauth import provider
from services.fakts.oauth.discovery import APP_PATH, TOKEN_PATH
from services.fakts.origin import Origin
from services.fakts.preflight import documents, parameters, starts
from services.fakts.preflight.manifests import InvalidManifest
from services.fakts.preflight.parameters import InvalidStart
from services.fakts.preflight.starts import Asked, Started
from services.fakts.preflight.strategies.interface import Via

_ERRORS = {TooMany: "slow_down", Forbidden: "access_denied"}
_STATUSES = frozenset({413, 429})
"""Others are 400 to clients (RFC 6749, section 5.2)."""
PATHS = frozenset({APP_PATH, APP_PATH.rstrip("/")})

_BODY = either(reads_json(*parameters.MEMBERS), reads_form("client_id", "client_secret", "scope"))

router = web.router(public, responses=OAUTH_ERRORS)


@router.post(APP_PATH, openapi_extra=_BODY)
@router.post(APP_PATH.rstrip("/"), openapi_extra=_BODY)
async def start(request: Request, context: Ctx, origin: RequestOrigin, where: RequestWhere) -> JSONResponse:
    """An app asks to be let in.

    A start of the Fakts protocol is JSON, and makes a client. A form is RFC 8628's, of a client that is registered.
    """
    try:
        context.starts.take(where.address)
        if is_form(request):
            form = await form_request(request)
            async with context.database.transaction() as session:
                found = await provider.authorize_device(session, context, origin, where, form)
            return JSONResponse(dict(found), headers=NOT_STORED)
        document = documents.read(await request.body())
        asked = Asked.of(parameters.read(document, context.version), Via.DEVICE, where)
        async with context.database.transaction() as session:
            started = await starts.ask(session, context, asked)
        return JSONResponse(_answer(context, origin, started), headers=NOT_STORED)
    except documents.Malformed as error:
        return refusal("invalid_request", f"the body {error}")
    except (InvalidManifest, InvalidStart) as error:
        return refusal("invalid_request", str(error))
    except Problem as problem:
        return refusal(_ERRORS.get(type(problem), "invalid_request"), problem.detail, problem)


def refusal(error: str, words: str, problem: Problem | None = None) -> JSONResponse:
    """An error answer, for either kind of client."""
    status = problem.status if problem is not None and problem.status in _STATUSES else 400
    headers = problem.headers if problem is not None else {}
    body = {"status": "error", "error": error, "error_description": words}
    return JSONResponse(body, status, headers={**NOT_STORED, **headers})


def _answer(context: Context, origin: Origin, started: Started) -> dict[str, Any]:
    """The members of RFC 8628, section 3.2, and those of the Fakts protocol."""
    page = f"{origin.url}/configure"
    return {
        "status": "granted",
        "client_id": str(started.client.id),
        "token_endpoint": f"{origin.url}{TOKEN_PATH}",
        "device_code": started.secret,
        "user_code": started.code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}/{started.code}",
        "expires_in": max(1, round((started.approval.expires_at - db.now()).total_seconds())),
        "interval": context.settings.device_interval_seconds,
    }
