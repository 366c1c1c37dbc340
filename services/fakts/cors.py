"""Cross-origin requests: web and desktop apps speak the Fakts protocol and OAuth from any origin, without cookies."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from services.fakts.oauth import discovery

_EXACT = frozenset(
    path.rstrip("/")
    for path in (
        discovery.TOKEN_PATH,
        discovery.REVOKE_PATH,
        discovery.USERINFO_PATH,
        discovery.JWKS_PATH,
        discovery.APP_PATH,
    )
)
_BELOW = ("/.well-known/", discovery.BASE_PATH)
_MAX_AGE = 600


class CrossOrigin:
    """Any origin may ask these paths, and no other one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["www-authenticate", "retry-after"],
            max_age=_MAX_AGE,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_open = path.rstrip("/") in _EXACT or path.startswith(_BELOW)
        await (self._open if is_open else self._app)(scope, receive, send)
