"""What the routes of fakts work with, made once by the application's lifespan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from libs.common import forwarded
from libs.common.db import Database
from libs.common.feed import FeedPublisher
from services.fakts.audit import Audit
from services.fakts.identity.attempts import SignInAttempts
from services.fakts.identity.feed import IdentityFeed
from services.fakts.identity.foreign import ForeignIssuers
from services.fakts.identity.passwords import Passwords
from services.fakts.limits import Rate
from services.fakts.master_key import MasterKey
from services.fakts.oauth.keys import SigningKeys
from services.fakts.origin import Origin, origin_of
from services.fakts.pages.upstream import Providers
from services.fakts.settings import FaktsSettings
from services.fakts.where import Where, client_address


@dataclass(frozen=True)
class Context:
    settings: FaktsSettings
    version: str
    """Of the platform."""
    database: Database
    master: MasterKey
    keys: SigningKeys
    publisher: FeedPublisher
    feed: IdentityFeed
    audit: Audit
    passwords: Passwords
    attempts: SignInAttempts
    providers: Providers
    token_requests: Rate
    """By address."""
    starts: Rate
    """Of apps that ask to be let in, by address."""
    guesses: Rate
    """Of codes and tokens that nobody issued, by address."""
    foreign: ForeignIssuers

    def issuer(self, origin: Origin) -> str:
        """Who tokens say they are from: the public URL, or where there is none the origin that was asked."""
        return self.settings.public_url or origin.url


def request_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _context(request: Request) -> Context:
    return request_context(request)


def request_origin(request: Request) -> Origin:
    """The origin that the request came to. Raises Invalid without a usable `Host` header."""
    public_url = request_context(request).settings.public_url
    return origin_of(request.headers.get("host"), request.url.scheme, public_url)


async def _origin(request: Request) -> Origin:
    return request_origin(request)


def request_where(request: Request) -> Where:
    """Where the request came from, as far as the edge knows."""
    peer = request.client.host if request.client else None
    context, headers = request_context(request), request.headers.raw
    said = forwarded.addresses(headers).decode("latin-1")
    vouched = forwarded.is_vouched_for(context.master.edge_secret, headers)
    return Where(client_address(peer, said, context.settings.trusted_networks, vouched=vouched))


async def _where(request: Request) -> Where:
    return request_where(request)


Ctx = Annotated[Context, Depends(_context)]
RequestOrigin = Annotated[Origin, Depends(_origin)]
RequestWhere = Annotated[Where, Depends(_where)]
"""Where the request came from."""
