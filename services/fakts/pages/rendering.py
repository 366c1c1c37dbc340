"""Pages as answers: templates, and the headers that keep a page to itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse

from libs.common import look, web
from libs.common.auth import public
from libs.common.openapi import PAGES
from libs.common.problems import Problem
from services.fakts.models import User
from services.fakts.pages import words
from services.fakts.pages.sessions import TOKEN_FIELD, SignedIn

_PATHS = ("/configure", "/apps", "/signin", "/signout", "/o/authorize", "/o/logout")
STATIC_PATH = "/configure/static"
_STATIC = files("services.fakts.pages") / "static"

STATIC = {
    "pages.css": look.STYLE + (_STATIC / "pages.css").read_bytes(),
    "htmx.min.js": (_STATIC / "htmx.min.js").read_bytes(),
    "icon.svg": look.ICON,
}
_VERSIONS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC.items()}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

_templates = Environment(
    loader=PackageLoader("services.fakts.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.filters |= {"moment": words.moment, "browser": words.browser, "sentence": words.sentence}
_templates.globals |= {
    "static": lambda name: f"{STATIC_PATH}/{name}?v={_VERSIONS[name]}",
    "token_field": TOKEN_FIELD,
    "may_break": Markup(".<wbr>"),
    "person": None,
    "user": None,
}

Render = Callable[[str, Problem, str], Response]


def page_router(prefix: str = "") -> APIRouter:
    """A router for pages: each is open, and finds out by itself who looks at it."""
    return web.router(public, prefix=prefix, default_response_class=HTMLResponse, responses=PAGES)


def page(
    template: str,
    *,
    deployment: str,
    person: SignedIn | None = None,
    status: int = 200,
    form_sources: str | None = "'self'",
    **values: Any,
) -> HTMLResponse:
    """A page.

    Args:
        deployment: what the platform is called.
        person: who is signed in.
        form_sources: where the page's forms may lead (`destinations.form_sources`).
    """
    user: User | None = person.user if person is not None else None
    body = _templates.get_template(template).render(deployment=deployment, person=person, user=user, **values)
    policy = _POLICY if form_sources is None else f"{_POLICY}; form-action {form_sources}"
    return HTMLResponse(body, status, headers={**_HEADERS, "content-security-policy": policy})


def see(path: str) -> RedirectResponse:
    """Send the browser on with a GET."""
    return RedirectResponse(path, 303, headers={"cache-control": "no-store", "referrer-policy": "same-origin"})


def problems(deployment: str) -> Render:
    """Words problems of pages as pages, and all others as `libs.common.web` does."""

    def render(path: str, problem: Problem, request_id: str) -> Response:
        if not any(path == own or path.startswith(f"{own}/") for own in _PATHS):
            return web.render(path, problem, request_id)
        answer = page("problem.html", deployment=deployment, status=problem.status, problem=problem)
        answer.headers.update(problem.headers)
        return answer

    return render
