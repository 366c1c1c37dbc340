"""`POST /o/app-authorization/`: an app starts the device flow, as the Fakts protocol has it or as RFC 8628 does."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from libs.common import db, web
from libs.common.auth import public
from libs.common.problems import Forbidden, Problem, TooMany
from services.fakts.context import Context, Ctx, RequestOrigin, RequestWhere
from services.fakts.oauth.discovery import APP_PATH, TOKEN_PATH
from services.fakts.origin import Origin
from services.fakts.preflight import approvals, documents, parameters
from services.fakts.preflight.approvals import Asked, Started
from services.fakts.preflight.manifests import InvalidManifest
from services.fakts.preflight.parameters import InvalidStart
from services.fakts.preflight.strategies.interface import Via

PATHS = frozenset({APP_PATH, APP_PATH.rstrip("/")})
_NOT_STORED = {"cache-control": "no-store"}

router = web.router(public)


@router.post(APP_PATH)
@router.post(APP_PATH.rstrip("/"))
async def start(request: Request, context: Ctx, origin: RequestOrigin, where: RequestWhere) -> JSONResponse:
    """An app asks to be let in. A start of the Fakts protocol also makes its client."""
    try:
        context.starts.take(where.address)
        document = documents.read(await request.body())
        asked = Asked.of(parameters.read(document, package_version("constellation")), Via.DEVICE, where)
        async with context.database.transaction() as session:
            started = await approvals.ask(session, context, asked)
        body = {
            "status": "granted",
            "client_id": str(started.client.id),
            "token_endpoint": f"{origin.url}{TOKEN_PATH}",
            **_answer(context, origin, started),
        }
        return JSONResponse(body, headers=_NOT_STORED)
    except documents.Malformed as error:
        return refusal("invalid_request", f"the body {error}")
    except (InvalidManifest, InvalidStart) as error:
        return refusal("invalid_request", str(error))
    except TooMany as problem:
        return refusal("slow_down", problem.detail, problem.status, problem.headers)
    except Forbidden as problem:
        return refusal("access_denied", problem.detail)
    except Problem as problem:
        return refusal("invalid_request", problem.detail)


def refusal(error: str, words: str, status: int = 400, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error answer, for either kind of client."""
    body = {"status": "error", "error": error, "error_description": words}
    return JSONResponse(body, status, headers={**_NOT_STORED, **(headers or {})})


def _answer(context: Context, origin: Origin, started: Started) -> dict[str, Any]:
    """RFC 8628, section 3.2."""
    pages = f"{origin.url}/configure/"
    return {
        "device_code": started.secret,
        "user_code": started.code,
        "verification_uri": pages,
        "verification_uri_complete": f"{pages}{started.code}",
        "expires_in": max(1, round((started.approval.expires_at - db.now()).total_seconds())),
        "interval": context.settings.device_interval_seconds,
    }
