"""The routes of the pages."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import FastAPI, Request, Response

from services.fakts.pages import apps, configure, logout, signin, signin_with, static_files
from services.fakts.pages.destinations import HOME, sign_in
from services.fakts.pages.rendering import problems, see
from services.fakts.pages.sessions import SignInFirst

ROUTERS = (signin.router, signin_with.router, configure.router, logout.router, apps.router, static_files.router)


def install(app: FastAPI, deployment: str) -> None:
    """Pages answer with pages when something is wrong, and with the sign-in page to whom they do not know."""
    app.state.render = problems(deployment)
    app.add_exception_handler(SignInFirst, _to_sign_in)


async def _to_sign_in(request: Request, _: Exception) -> Response:
    """A page that was asked for is what the person sees next; a form is not sent again."""
    query = f"?{request.url.query}" if request.url.query else ""
    return see(sign_in(f"{quote(request.scope['path'])}{query}" if request.method == "GET" else HOME))
