"""What the gateway answers through its application beside hosted data: the front page, and, for every other path, the
edge."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from libs.common import web
from libs.common.auth import public
from libs.common.openapi import ANYTHING, also, answers
from libs.common.problems import Problem
from services.gateway import browsers
from services.gateway.platform import Platform

routes = web.router(public)
calls = web.router(public)
"""The addresses of calls, for requests that are none."""
everything_else = web.router(public, responses={**ANYTHING, **also(502, 503)})
"""Included last: it takes every path."""

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CALL_PATHS = ("/v1/algo/{reference:path}", "/launches/{launch_id}/v1/algo/{reference:path}")
_LINKS = {
    "health": "/healthz",
    "readiness": "/readyz",
    "metrics": "/metrics",
    "discovery": "/.well-known/fakts",
    "calls": "/v1/algo/OWNER/NAME",
    "data": "/v1/data/OWNER/COLLECTION/FILE",
    "algorithms": "/v1/algorithms",
}


class NotBuilt(Problem):
    status, title, code = 501, "Not implemented", 6001


class MethodNotAllowed(Problem):
    status, title, code = 405, "Method not allowed", 6001


@routes.get("/", responses=answers("application/json", "text/html"))
async def front_page(request: Request) -> Any:
    """What this address is, for people and programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return {"service": "constellation", "links": _LINKS}
    items = "".join(f'<li><a href="{path}">{name}</a></li>' for name, path in _LINKS.items() if path == path.lower())
    return HTMLResponse(
        "<!doctype html><meta charset=utf-8><title>Constellation</title><h1>Constellation</h1>"
        f"<p>Call an algorithm: <code>POST {_LINKS['calls']}</code></p><ul>{items}</ul>"
    )


@calls.options(CALL_PATHS[0])
@calls.options(CALL_PATHS[1])
async def preflight(request: Request, reference: str) -> Response:  # noqa: ARG001 - the path names it
    """Who asks so from no web page is told the same (`browsers.py`)."""
    return Response(status_code=204, headers=browsers.preflight_headers("*", "POST"))


async def no_call(request: Request, reference: str) -> Response:  # noqa: ARG001 - the path names it
    """Calls are taken off before the application (`protocol.py`), so what arrives here is none."""
    if request.method == "POST":
        raise NotBuilt("calls are served by the gateway's own HTTP protocol class, and this server runs without it")
    raise MethodNotAllowed("an algorithm is called with POST", headers={"Allow": "POST, OPTIONS"})


async def pass_on(request: Request, path: str) -> Response:  # noqa: ARG001 - the edge takes it undecoded
    platform: Platform = request.app.state.gateway.source
    return await platform.edge.pass_on(request)


for _method in METHODS:
    if _method != "OPTIONS":
        for _path in CALL_PATHS:
            calls.add_api_route(_path, no_call, methods=[_method], responses=also(501, 502, 503, 504))
    everything_else.add_api_route("/{path:path}", pass_on, methods=[_method])
