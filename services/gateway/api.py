"""What the gateway answers through its application: the front page, who a key is for, and, for every other path, the
edge."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from libs.common import web
from libs.common.auth import public
from libs.common.problems import Problem, Unauthenticated
from services.gateway import browsers
from services.gateway.gateway import Gateway

routes = web.router(public)
everything_else = web.router(public)
"""Included last: it takes every path."""

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_LINKS = {
    "health": "/healthz",
    "readiness": "/readyz",
    "metrics": "/metrics",
    "discovery": "/.well-known/fakts",
    "calls": "/v1/algo/OWNER/NAME",
    "algorithms": "/v1/algorithms",
}


class NotBuilt(Problem):
    status, title, code = 501, "Not implemented", 6001


class MethodNotAllowed(Problem):
    status, title, code = 405, "Method not allowed", 6001


@routes.get("/")
async def front_page(request: Request) -> Any:
    """What this address is, for people and programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return {"service": "constellation", "links": _LINKS}
    items = "".join(f'<li><a href="{path}">{name}</a></li>' for name, path in _LINKS.items() if name != "calls")
    return HTMLResponse(
        "<!doctype html><meta charset=utf-8><title>Constellation</title><h1>Constellation</h1>"
        f"<p>Call an algorithm: <code>POST {_LINKS['calls']}</code></p><ul>{items}</ul>"
    )


@routes.options("/v1/algo/{reference:path}")
async def preflight(request: Request, reference: str) -> Response:  # noqa: ARG001 - the path names it
    """Who asks so from no web page is told the same (`browsers.py`)."""
    return Response(status_code=204, headers=browsers.preflight_headers("*", "POST"))


@routes.api_route("/v1/algo/{reference:path}", methods=[method for method in METHODS if method != "OPTIONS"])
async def no_call(request: Request, reference: str) -> Response:  # noqa: ARG001 - the path names it
    """Calls are taken off before the application (`protocol.py`), so what arrives here is none."""
    if request.method == "POST":
        raise NotBuilt("calls are served by the gateway's own HTTP protocol class, and this server runs without it")
    raise MethodNotAllowed("an algorithm is called with POST", headers={"Allow": "POST, OPTIONS"})


@routes.get("/v1/data")
@routes.get("/v1/data/")
async def own_folder(request: Request) -> Response:
    """The root of hosted data. Clients learn from its first folder for whom their key is."""
    gateway: Gateway = request.app.state.gateway
    authorization = request.headers.get("authorization")
    if not authorization:
        raise Unauthenticated("authorization required")
    caller = await gateway.callers.find(authorization.encode("latin-1"))
    body = orjson.dumps({"folders": [{"name": caller.name}]})
    return Response(body, media_type="application/json", headers={"x-data-type": "directory"})


@routes.api_route("/v1/data/{path:path}", methods=METHODS)
@routes.api_route("/v1/connector/{path:path}", methods=METHODS)
async def no_data(path: str) -> Response:  # noqa: ARG001 - the path names it
    raise NotBuilt("hosted data is not served by this version; pass data in the call, or by a URL")


@everything_else.api_route("/{path:path}", methods=METHODS)
async def pass_on(request: Request, path: str) -> Response:  # noqa: ARG001 - the edge takes it undecoded
    gateway: Gateway = request.app.state.gateway
    return await gateway.edge.pass_on(request)
