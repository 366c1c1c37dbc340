"""What the routes of fakts work with, made once by the application's lifespan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from libs.common.auth import TokenVerifier
from libs.common.db import Database
from libs.common.feed import FeedPublisher
from services.fakts.audit import Audit
from services.fakts.identity.feed import IdentityFeed
from services.fakts.identity.foreign import ForeignIssuers
from services.fakts.identity.passwords import Attempts, Passwords
from services.fakts.master_key import MasterKey
from services.fakts.oauth.keys import SigningKeys
from services.fakts.origin import Origin, origin_of
from services.fakts.settings import FaktsSettings


@dataclass(frozen=True)
class Context:
    settings: FaktsSettings
    database: Database
    master: MasterKey
    keys: SigningKeys
    publisher: FeedPublisher
    feed: IdentityFeed
    audit: Audit
    passwords: Passwords
    attempts: Attempts
    verifier: TokenVerifier
    foreign: ForeignIssuers

    def issuer(self, origin: Origin) -> str:
        """Who tokens say they are from: the public URL, or where there is none the origin that was asked."""
        return self.settings.public_url or origin.url


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _origin(request: Request) -> Origin:
    context: Context = request.app.state.context
    return origin_of(request.headers.get("host"), request.url.scheme, context.settings.public_url)


Ctx = Annotated[Context, Depends(_context)]
RequestOrigin = Annotated[Origin, Depends(_origin)]
