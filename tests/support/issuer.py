"""A provider outside of the platform that signs tokens, on a loopback port, with all that it says scripted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.serving import serving


@cache
def rsa_key(kid: str) -> RSAKey:
    """One of each name per test process: making one takes a while."""
    return RSAKey.generate_key(2048, parameters={"kid": kid, "use": "sig", "alg": "RS256"})


class Issuer:
    """Its own keys are `keys`; `metadata` is what discovery answers, where not the truth."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = [rsa_key("one")]
        self.metadata: dict[str, Any] = {}
        self.asked = 0
        """Fetches of its keys."""
        self.app = Starlette(
            routes=[Route("/.well-known/openid-configuration", self._metadata), Route("/jwks", self._jwks)]
        )

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        async with serving(self.app, grace=1) as url:
            self.url = url
            yield self

    def token(self, *, key: RSAKey | OctKey | None = None, algorithm: str = "RS256", **claims: Any) -> str:
        """A token for audience `platform`, good for ten minutes, as far as `claims` do not say otherwise.

        A claim of None is left out.
        """
        now = int(time.time())
        said = {"iss": self.url, "aud": "platform", "sub": "1", "iat": now, "exp": now + 600, **claims}
        key = key or self.keys[-1]
        header = {"alg": algorithm, "kid": key.kid}
        return jwt.encode(
            header, {name: value for name, value in said.items() if value is not None}, key, [algorithm]
        )

    async def _metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.metadata})

    async def _jwks(self, _: Request) -> Response:
        self.asked += 1
        return JSONResponse(KeySet(list(self.keys)).as_dict(private=False))
