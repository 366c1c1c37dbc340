"""`/console`: the page, and what it is made of.

Every path is the same page: which room it shows is for its script to read. All that it loads is below an address that
changes with the content, so browsers keep it; modules name one another relatively.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import Response
from fastapi.responses import HTMLResponse, RedirectResponse

from libs.common import look, web
from libs.common.auth import public
from libs.common.openapi import answers
from libs.common.problems import NotFound

HOME = "/console"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "LICENSE": "text/plain; charset=utf-8",
}
FILES = {one.name: one.read_bytes() for one in (files(__package__) / "static").iterdir()}
FILES |= {"console.css": look.STYLE + FILES["console.css"], "icon.svg": look.ICON}
_VERSION = hashlib.sha256(b"".join(name.encode() + FILES[name] for name in sorted(FILES))).hexdigest()[:12]
_PAGE = FILES.pop("index.html").replace(b"{static}", f"{HOME}/static/{_VERSION}".encode())

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content Security Policy, level 3: nothing inline, nothing from elsewhere, and no markup made from text."""
_PAGE_HEADERS = {
    "content-security-policy": _POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_KEPT = "public, max-age=31536000, immutable"

routes = web.router(public)


@routes.head(HOME, response_class=RedirectResponse, status_code=308)
@routes.get(HOME, response_class=RedirectResponse, status_code=308)
async def home() -> Response:
    return RedirectResponse(f"{HOME}/", 308)


@routes.head(f"{HOME}/static/{{version}}/{{name}}", response_class=Response)
@routes.get(
    f"{HOME}/static/{{version}}/{{name}}",
    response_class=Response,
    responses=answers(*(one.split(";")[0] for one in _TYPES.values())),
)
async def static_file(version: str, name: str) -> Response:
    """While gateways of two releases run, a page may ask the other one: what it gets then is not kept."""
    if name not in FILES:
        raise NotFound(f"there is no file '{name[:50]}' here")
    headers = {"cache-control": _KEPT if version == _VERSION else "no-store", "x-content-type-options": "nosniff"}
    return Response(FILES[name], media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


@routes.head(f"{HOME}/{{path:path}}", response_class=HTMLResponse)
@routes.get(f"{HOME}/{{path:path}}", response_class=HTMLResponse)
async def page(path: str) -> Response:  # noqa: ARG001 - the page's script reads it
    return Response(_PAGE, media_type=_TYPES["html"], headers=_PAGE_HEADERS)
