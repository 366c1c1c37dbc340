"""`/signin/with/PROVIDER`: people for whom an upstream provider vouches.

What must be known when a person comes back from the provider travels sealed in a cookie of the browser, so that any
instance of fakts can go on, and nobody else.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response

from libs.common.db import Session
from libs.common.openapi import also
from libs.common.problems import Forbidden, Invalid
from services.fakts import locks
from services.fakts.context import Context, Ctx, RequestOrigin
from services.fakts.identity import claims
from services.fakts.identity import upstream as identities
from services.fakts.master_key import MasterKeyFault
from services.fakts.models import User
from services.fakts.pages import sessions
from services.fakts.pages.destinations import HOME, SIGN_IN, own_path
from services.fakts.pages.providers import Provider
from services.fakts.pages.rendering import page_router, see
from services.fakts.pages.upstream import Vouched

_JOURNEY = "constellation_journey"
_LASTS = timedelta(minutes=15)
_MAX_TEXT = 255
_MAX_COOKIE = 3800
"""Browsers keep 4096 bytes of a cookie (RFC 6265, section 6.1), its name and attributes included."""

router = page_router(prefix=f"{SIGN_IN}/with")


@router.get("/{provider}", responses=also(503))
async def begin(
    *,
    request: Request,
    provider: str,
    context: Ctx,
    origin: RequestOrigin,
    then: Annotated[str | None, Query(alias="next")] = None,
    again: bool = False,
) -> Response:
    """To the provider. Its answer comes to the public origin, so the journey begins there too.

    Args:
        again: the provider is to ask the person even if it knows who they are.
    """
    public_origin = context.issuer(origin)
    if origin.url != public_origin:
        return see(f"{public_origin}{request.url.path}?{request.url.query}")
    request.scope["session"] = {}
    callback = f"{origin.url}{SIGN_IN}/with/{provider}/callback"
    answer = await context.providers.begin(request, provider, callback, again=again)
    _pack(request, context, answer, {"session": request.session, "next": own_path(then), "provider": provider})
    answer.headers["cache-control"] = "no-store"
    return answer


@router.get("/{provider}/callback", responses=also(503))
async def finish(request: Request, provider: str, session: Session, context: Ctx) -> Response:
    journey = _unpack(request, context)
    if journey.get("provider") != provider:
        raise Invalid("this sign-in did not begin in this browser, or took too long; start again")
    request.scope["session"] = journey["session"]
    vouched = await context.providers.finish(request, provider)
    found = context.providers.get(provider)
    _check_admitted(found, vouched)
    await locks.take(session, locks.IDENTITY)
    await sessions.end(request, session, context)  # locks logins, which comes before publishing an account
    user = await _account(session, context, found, vouched)
    answer = see(own_path(journey["next"]))
    sessions.drop_cookie(answer, _JOURNEY, request)
    await sessions.begin(request, session, context, answer, user, provider=provider)
    return answer


def _check_admitted(provider: Provider, vouched: Vouched) -> None:
    """Raises Forbidden or Invalid."""
    if not claims.admitted(vouched.claims, provider.admit):
        raise Forbidden(f"your account at {provider.label} may not come in here; ask an administrator")
    if len(vouched.issuer) > _MAX_TEXT or len(vouched.subject) > _MAX_TEXT:
        raise Invalid(f"{provider.label} names you with more than {_MAX_TEXT} characters")


async def _account(session: Session, context: Context, provider: Provider, vouched: Vouched) -> User:
    """The person's account, made if this is the first sign-in. Raises Forbidden."""
    user = await identities.find(session, vouched.issuer, vouched.subject)
    if user is None:
        user = await identities.adopt(
            session,
            context.feed,
            vouched.issuer,
            vouched.subject,
            names=claims.account_names(vouched.claims, provider.claims),
            email=claims.email(vouched.claims, provider.claims),
            fullname=claims.fullname(vouched.claims, provider.claims),
        )
        await context.audit.record(
            session, actor=user.name, action="user.create", subject=user.name, detail=f"provider {provider.name}"
        )
    if not user.active:
        raise Forbidden("your account here was closed; ask an administrator")
    await identities.place(session, context.feed, user, claims.memberships(vouched.claims, provider.memberships))
    return user


def _pack(request: Request, context: Context, answer: Response, journey: dict[str, Any]) -> None:
    """Browsers drop a cookie that is too long. Where the person was going is the one thing that may be: without it
    they are signed in all the same, and land on their own page."""
    text = _sealed(context, journey)
    if len(text) > _MAX_COOKIE:
        text = _sealed(context, {**journey, "next": HOME})
    sessions.set_cookie(answer, _JOURNEY, text, request, lasts=_LASTS)


def _sealed(context: Context, journey: dict[str, Any]) -> str:
    sealed = context.master.seal(zlib.compress(json.dumps(journey).encode()), name=_JOURNEY)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _unpack(request: Request, context: Context) -> dict[str, Any]:
    """What was packed, or nothing."""
    text = request.cookies.get(sessions.cookie_name(_JOURNEY, request), "")
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        journey: dict[str, Any] = json.loads(zlib.decompress(context.master.open(sealed, name=_JOURNEY)))
    except (binascii.Error, ValueError, zlib.error, MasterKeyFault):
        return {}
    return journey
