"""How much a request may carry."""

from __future__ import annotations

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import web
from libs.common.problems import TooLarge
from services.fakts.api import app_authorization, protocol_one
from services.fakts.api.forms import refusal
from services.fakts.oauth.discovery import INTROSPECT_PATH, REVOKE_PATH, TOKEN_PATH

MAX_BODY = 256 * 1024
_OF_OAUTH = frozenset({TOKEN_PATH, TOKEN_PATH.rstrip("/"), REVOKE_PATH, INTROSPECT_PATH})


class BodyLimit:
    """Reads each request's body before its route does, and answers 413 in the words of the route's family past the
    limit. Nothing that fakts is asked is large, so a body is held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY:
                await self._refuse(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replayed, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        words = f"the body is larger than {MAX_BODY} bytes"
        if scope["path"] in protocol_one.PATHS:
            await JSONResponse(protocol_one.refusal(words))(scope, receive, send)
        elif scope["path"] in app_authorization.PATHS:
            await app_authorization.refusal("invalid_request", words, TooLarge(words))(scope, receive, send)
        elif scope["path"] in _OF_OAUTH:
            await refusal(InvalidRequestError(description=words, status_code=413))(scope, receive, send)
        else:
            render = scope["app"].state.render
            await render(scope["path"], TooLarge(words), web.current_request_id())(scope, receive, send)
