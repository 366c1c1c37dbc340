"""The skeleton of a service's HTTP application: request ids, trace context, metrics, health, errors.

Every route declares its gate: `router(service_only)` and so on (`libs.common.auth`), so that nothing is open by
omission.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson
import structlog
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import logs, openapi, telemetry
from libs.common.auth import public
from libs.common.problems import Invalid, NotFound, Problem, TooLarge, Unavailable, header_text
from libs.common.text import check_json

log = logs.get(__name__)

REQUEST_ID = "x-request-id"
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

_DOES_NOT_FIT = frozenset({"22000", "22001", "22003", "22008", "22021", "22P05"})
"""SQLSTATEs of values that PostgreSQL or asyncpg do not take: too long, out of range, not text."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Gate = Callable[..., Awaitable[object]]
Check = Callable[[], Awaitable[None]]


class _PlainJson(Request):
    """A request whose JSON can be kept and passed on as it is."""

    async def json(self) -> Any:
        document = await super().json()
        try:
            check_json(document)
        except ValueError as error:
            raise HTTPException(400, f"the body: {error}") from None
        return document


class PlainRoute(APIRoute):
    """Refuses JSON with text that is not `plain`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_plain(request: Request) -> Response:
            return await handle(_PlainJson(request.scope, request.receive))

        return handle_plain


def router(gate: Gate, *, relays: bool = False, **options: Any) -> APIRouter:
    """A router whose routes all pass `gate` first.

    Args:
        relays: bodies hold what others wrote or printed, and the routes clean it. Elsewhere, JSON with text that
            is not `plain` is refused.
    """
    route_class = APIRoute if relays else PlainRoute
    return APIRouter(dependencies=[Depends(gate)], route_class=route_class, **options)


def create_app(service: str, *, lifespan: Lifespan, routers: Sequence[APIRouter]) -> FastAPI:
    """A service's application. The lifespan puts what the routes need on `app.state`.

    `app.state.checks` (name -> coroutine function that raises) decides `/readyz`.
    `app.state.on_drain` holds functions that end what waits for long; the server calls them before it drains.
    `app.state.render` words problems; a service whose paths want other words puts its own there.
    """
    app = FastAPI(
        title=f"Constellation {service}",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.ERRORS,
    )
    app.state.service = service
    app.state.checks = {}
    app.state.on_drain = []
    app.state.render = render
    for one in routers:
        app.include_router(one)
    app.include_router(_health())
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    for unreachable in (OperationalError, InterfaceError, PoolTimeout, DBAPIError, OSError):
        app.add_exception_handler(unreachable, _on_database)
    app.add_middleware(_Observe, service=service)
    return app


def _health() -> APIRouter:
    routes = router(public)

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", responses={503: {"description": "What is missing.", "content": {"application/json": {}}}})
    async def readyz(request: Request, response: Response) -> dict[str, Any]:
        failing = {}
        for name, check in request.app.state.checks.items():
            try:
                await check()
            except Exception as error:  # whatever keeps the service from working is told, not raised
                failing[name] = logs.redact(str(error) or type(error).__name__)
        if failing:
            response.status_code = 503
        return {"status": "unready" if failing else "ready", "failing": failing}

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return routes


def render(path: str, problem: Problem, request_id: str) -> Response:
    """A problem as the family of routes that `path` belongs to words it."""
    if path.startswith("/v1/"):
        body: dict[str, Any] = {"error": {"id": request_id, "code": problem.code, "message": problem.detail}}
        headers = problem.headers | {"X-Error-Message": header_text(problem.detail)}
        return Response(orjson.dumps(body), problem.status, headers, media_type="application/json")
    document = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    return Response(orjson.dumps(document), problem.status, problem.headers, media_type=openapi.PROBLEM)


def _render(request: Request, problem: Problem) -> Response:
    answer: Response = request.app.state.render(request.url.path, problem, current_request_id())
    return answer


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for it
    return _render(request, error)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    parts = [f"{'.'.join(str(p) for p in e['loc'][1:]) or 'body'}: {e['msg']}" for e in error.errors()]
    return _render(request, Invalid("; ".join(parts) or "invalid request"))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    problem: Problem = NotFound(f"there is no {request.method} {request.url.path} here")
    if error.status_code != 404:
        problem = Problem(str(error.detail), code=6001, headers=error.headers)
        problem.status, problem.title = error.status_code, HTTPStatus(error.status_code).phrase
    return _render(request, problem)


async def _on_database(request: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and not (error.connection_invalidated or _is_outage(error)):
        if getattr(error.orig, "sqlstate", None) not in _DOES_NOT_FIT:
            return await _on_fault(request, error)
        log.warning("value_refused_by_database", path=request.url.path, exc_info=error)
        return _render(request, Invalid("a number, a moment or a text is beyond what can be kept here"))
    log.warning("dependency_unreachable", path=request.url.path, reason=type(error).__name__)
    problem = Unavailable("the database cannot be reached just now; nothing was changed, try again")
    return _render(request, problem)


def _is_outage(error: DBAPIError) -> bool:
    return isinstance(error, OperationalError | InterfaceError) or isinstance(error.orig, OSError)


async def _on_fault(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    request_id = current_request_id()
    return _render(request, Problem(f"internal error; quote request id {request_id}"))


def current_request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


class _Observe:
    """Binds the request id and trace context, counts and times the request. Plain ASGI: streams stay streams."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request_id = headers.get(REQUEST_ID) or f"req-{uuid4()}"
        status, answering, started = 500, False, time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        token = telemetry.context.attach(telemetry.extract(headers))
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._answer(scope, receive, observed)
            except Exception as error:
                if answering:
                    raise
                answer = await _on_fault(Request(scope), error)
                await answer(scope, receive, observed)
            finally:
                telemetry.context.detach(token)
                route = getattr(scope.get("route"), "path", "unmatched")
                telemetry.REQUESTS.labels(self._service, scope["method"], route, status).inc()
                telemetry.REQUEST_SECONDS.labels(self._service, route).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            problem = Invalid("the address has a NUL character (%00), which is not allowed")
            await _render(Request(scope), problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def body_chunks(request: Request, *, limit: int) -> AsyncIterator[bytes]:
    """The request's body as it arrives. Raises TooLarge past `limit` bytes."""
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        yield chunk
