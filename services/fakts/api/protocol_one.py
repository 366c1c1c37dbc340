"""`/lok/f/`: version 1 of the Fakts protocol. Every call is answered 200, whatever happened: its clients need that.

Why it went wrong is in `error` and in `message`, for one half of the clients reads this and the other that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs, web
from libs.common.auth import public
from libs.common.openapi import reads_json
from libs.common.problems import Problem, TooMany
from services.fakts.context import Context, Ctx, RequestOrigin, RequestWhere
from services.fakts.oauth.discovery import BASE_PATH
from services.fakts.preflight import documents, parameters, protocol_one
from services.fakts.preflight.manifests import InvalidManifest
from services.fakts.preflight.parameters import InvalidStart

log = logs.get(__name__)

NAMES = ("start", "challenge", "claim", "redeem", "retrieve")
PATHS = frozenset(f"{BASE_PATH}{name}{slash}" for name in NAMES for slash in ("", "/"))

router = web.router(public, prefix=BASE_PATH.rstrip("/"))

Answer = dict[str, Any]
Call = Callable[[AsyncSession, Answer], Awaitable[Answer]]


@router.post("/start", openapi_extra=reads_json(*parameters.MEMBERS))
@router.post("/start/", openapi_extra=reads_json(*parameters.MEMBERS))
async def start(request: Request, context: Ctx, where: RequestWhere) -> Answer:
    """An app asks to be let in."""

    async def call(session: AsyncSession, document: Answer) -> Answer:
        context.starts.take(where.address)
        return await protocol_one.start(session, context, document, where, context.version)

    return await _answer(request, context, call)


@router.post("/challenge", openapi_extra=reads_json("code"))
@router.post("/challenge/", openapi_extra=reads_json("code"))
async def challenge(request: Request, context: Ctx, where: RequestWhere) -> Answer:
    """Whether somebody decided. An app goes on asking only while it hears that nobody has."""

    async def call(session: AsyncSession, document: Answer) -> Answer:
        return await protocol_one.challenge(session, context, document, where)

    return await _answer(request, context, call, later="waiting")


@router.post("/claim", openapi_extra=reads_json("token"))
@router.post("/claim/", openapi_extra=reads_json("token"))
async def claim(request: Request, context: Ctx, origin: RequestOrigin, where: RequestWhere) -> Answer:
    """The configuration of an app that was let in."""

    async def call(session: AsyncSession, document: Answer) -> Answer:
        return await protocol_one.claim(session, context, document, origin, where)

    return await _answer(request, context, call)


@router.post("/redeem", openapi_extra=reads_json("manifest", "token"))
@router.post("/redeem/", openapi_extra=reads_json("manifest", "token"))
async def redeem(request: Request, context: Ctx, where: RequestWhere) -> Answer:
    """An app that nobody watches is let in with a token."""

    async def call(session: AsyncSession, document: Answer) -> Answer:
        return await protocol_one.redeem(session, context, document, where)

    return await _answer(request, context, call)


@router.post("/retrieve", openapi_extra=reads_json(*parameters.MEMBERS))
@router.post("/retrieve/", openapi_extra=reads_json(*parameters.MEMBERS))
async def retrieve(request: Request, context: Ctx, where: RequestWhere) -> Answer:
    """An app that a rule lets in by itself."""

    async def call(session: AsyncSession, document: Answer) -> Answer:
        context.starts.take(where.address)
        return await protocol_one.retrieve(session, context, document, where, context.version)

    return await _answer(request, context, call)


def refusal(words: str, status: str = "error") -> Answer:
    return {"status": status, "error": words, "message": words}


async def _answer(request: Request, context: Context, call: Call, *, later: str = "error") -> Answer:
    """What the call answers, in a transaction of its own.

    Args:
        later: status of an answer that says to try again.
    """
    try:
        document = documents.read(await request.body())
        async with context.database.transaction() as session:
            return await call(session, document)
    except documents.Malformed as error:
        return refusal(f"the body {error}")
    except (InvalidManifest, InvalidStart) as error:
        return refusal(str(error))
    except TooMany as problem:
        return refusal(problem.detail, later)
    except Problem as problem:
        return refusal(problem.detail)
    except (SQLAlchemyError, OSError) as error:
        log.warning("protocol_one_unavailable", reason=type(error).__name__)
        return refusal("the deployment cannot answer just now; try again", later)
