"""Requests that web pages of other origins make, told by their `Origin` header (Fetch standard, CORS).

A key works from browsers only if it has `allow_web_algo`, and where it names a `referer_host`, only from there.
Whether a key allows it is known when it is used: a preflight carries none.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import web
from libs.common.contracts.identity import Permissions
from libs.common.problems import Forbidden, Problem
from services.gateway.callers import Callers

METHODS: Mapping[str, str] = {
    "/v1/algo/": "POST",
    "/v1/data": "GET, HEAD, PUT, POST, PATCH, DELETE",
    "/v1/connector/": "GET, HEAD, PUT, POST, PATCH, DELETE",
}
"""What pages may ask for, by the beginning of the path."""
EXPOSED = "x-request-id, x-error-message, x-data-type, content-range, etag"
_PREFLIGHT_SECONDS = 600


def check(permissions: Permissions, origin: bytes, referer: bytes) -> None:
    """Raises Forbidden when a credential with these permissions may not be used from there."""
    if not permissions.allow_web_algo:
        raise Forbidden("this key may not be used from a browser; use one that has 'allow_web_algo'")
    wanted = permissions.referer_host
    if wanted and wanted.lower() not in (_host(origin), _host(referer)):
        raise Forbidden("this key may not be used from this web site; its 'referer_host' is another")


def preflight_headers(origin: str, methods: str) -> dict[str, str]:
    """What a browser is told that asks whether it may ask."""
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": methods,
        "access-control-allow-headers": "authorization, content-type, accept, range, x-request-id",
        "access-control-max-age": str(_PREFLIGHT_SECONDS),
        "vary": "origin",
    }


class CrossOrigin:
    """Answers preflights, refuses keys that are not for browsers, and lets pages read the answers.

    For what the application answers; calls are taken off before it (`admission.py`, `call.py`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = _methods(scope["path"]) if scope["type"] == "http" else None
        headers = Headers(scope=scope) if methods is not None else Headers()
        origin = headers.get("origin")
        if methods is None or origin is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            answer = Response(status_code=204, headers=preflight_headers(origin, methods))
            await answer(scope, receive, send)
            return

        async def readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                fields["access-control-allow-origin"] = origin
                fields["access-control-expose-headers"] = EXPOSED
                fields.add_vary_header("origin")
            await send(message)

        callers: Callers = Request(scope).app.state.gateway.callers
        authorization = headers.get("authorization", "").encode("latin-1")
        try:
            if authorization:
                caller = await callers.find(authorization)
                if caller.claims is None:
                    check(caller.principal.permissions, origin.encode("latin-1"), _referer(headers))
        except Problem as problem:
            answer = web.render(scope["path"], problem, web.current_request_id())
            await answer(scope, receive, readable)
            return
        await self._app(scope, receive, readable)


def _methods(path: str) -> str | None:
    return next((methods for prefix, methods in METHODS.items() if path.startswith(prefix)), None)


def _referer(headers: Headers) -> bytes:
    return headers.get("referer", "").encode("latin-1")


def _host(url: bytes) -> str:
    try:
        return (urlsplit(url.decode("latin-1")).hostname or "").lower()
    except ValueError:
        return ""
