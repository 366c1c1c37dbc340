"""`/o/`: OAuth 2.0 and OpenID Connect. Who asks is in the request itself, so the gates are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from authlib.oauth2 import OAuth2Error
from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from libs.common import web
from libs.common.auth import Authenticator, public
from libs.common.db import Session
from libs.common.directory import credential
from libs.common.openapi import OAUTH_ERRORS, reads_form
from libs.common.problems import Forbidden, Invalid, TooMany, Unauthenticated
from services.fakts.api.forms import NOT_STORED, answered, form_request, query_parameters
from services.fakts.context import (
    Ctx,
    RequestOrigin,
    RequestWhere,
    request_context,
    request_origin,
    request_where,
)
from services.fakts.oauth import authorization, claims, discovery, endpoints, people, provider
from services.fakts.pages.rendering import page_router
from services.fakts.pages.sessions import OptionalPerson

_CLIENT = ("client_id", "client_secret")
_TOKEN_REQUEST = reads_form(
    *("grant_type", *_CLIENT, "scope", "code", "redirect_uri", "code_verifier", "refresh_token", "device_code"),
    *("key", "redeem_token", "manifest", "requested_client_kind", "requested_client_role", "request_auth_key"),
)
_TOKEN = reads_form("token", "token_type_hint", *_CLIENT)
_AUTHORIZATION = {
    "parameters": [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in (
            *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "prompt", "max_age"),
            *("code_challenge", "code_challenge_method", "login_hint", "response_mode"),
        )
    ]
}

router = web.router(public, responses=OAUTH_ERRORS)
pages = page_router()


@router.post(discovery.TOKEN_PATH.rstrip("/"), openapi_extra=_TOKEN_REQUEST)
@router.post(discovery.TOKEN_PATH, openapi_extra=_TOKEN_REQUEST)
async def token(request: Request) -> JSONResponse:
    # Taken from the request instead of by dependencies: this route is asked most, and each of those costs something.
    context, origin, where = request_context(request), request_origin(request), request_where(request)
    if (throttled := _throttled(context.token_requests.take, where.address)) is not None:
        return throttled
    form = await form_request(request)
    try:
        async with context.database.transaction() as session:
            answer = await provider.token(session, context, origin, where, form)
    except TooMany as problem:
        return _slow_down(problem)
    return answered(answer)


@router.post(discovery.REVOKE_PATH, openapi_extra=_TOKEN)
async def revoke(
    request: Request, session: Session, context: Ctx, origin: RequestOrigin, where: RequestWhere
) -> JSONResponse:
    if (throttled := _throttled(context.token_requests.take, where.address)) is not None:
        return throttled
    return answered(await provider.revoke(session, context, origin, where, await form_request(request)))


@router.post(discovery.INTROSPECT_PATH, openapi_extra=_TOKEN)
async def introspect(
    request: Request, session: Session, context: Ctx, origin: RequestOrigin, where: RequestWhere
) -> JSONResponse:
    """What a token is good for: for clients that have a secret, and for services of the platform.

    Those may ask as often as they like: only refusals are counted.
    """
    subject = f"introspection {where.address}"
    if (throttled := _throttled(context.token_requests.check, subject)) is not None:
        return throttled
    form = await form_request(request, by_service=await _is_service(request))
    answer = await provider.introspect(session, context, origin, where, form)
    if answer.status != 200:
        context.token_requests.count(subject)
    return answered(answer)


@pages.get(discovery.AUTHORIZE_PATH.rstrip("/"), status_code=302, openapi_extra=_AUTHORIZATION)
@pages.get(discovery.AUTHORIZE_PATH, status_code=302, openapi_extra=_AUTHORIZATION)
async def authorize(
    request: Request,
    session: Session,
    context: Ctx,
    origin: RequestOrigin,
    where: RequestWhere,
    person: OptionalPerson,
) -> Response:
    """A client sends a person here; the browser goes on to sign in, to decide, or back."""
    try:
        parameters = query_parameters(request)
    except OAuth2Error as error:
        raise Invalid(str(error.description)) from None
    url = await authorization.begin(
        session,
        context,
        origin,
        where,
        parameters,
        person=person.user if person is not None else None,
        signed_in_at=person.row.created_at if person is not None else None,
    )
    return RedirectResponse(url, 302, headers={**NOT_STORED, "referrer-policy": "no-referrer"})


@router.get(discovery.USERINFO_PATH)
@router.post(discovery.USERINFO_PATH)
async def userinfo(request: Request, session: Session, context: Ctx) -> JSONResponse:
    """Who the access token acts for, as far as its scopes tell (OpenID Connect Core, section 5.3)."""
    found = credential(request.headers.get("authorization"))
    token = await endpoints.access_token(session, context, found[1]) if found and found[0] == "jwt" else None
    if token is None or token.claims is None or token.over:
        asks = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise Unauthenticated("the access token is missing, was revoked or has expired", headers=asks)
    scope = str(token.claims["scope"]).split()
    person = await people.of_login(session, token.login)
    if "openid" not in scope or person is None:
        asks = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="openid"'}
        raise Forbidden("this needs an access token of a person, with the scope openid", headers=asks)
    memberships = await people.memberships(session, person.account)
    said: dict[str, Any] = claims.of_account(person.account, memberships, scope, person.role)
    return JSONResponse(said, headers=NOT_STORED)


async def _is_service(request: Request) -> bool:
    authorization_header = request.headers.get("authorization")
    found = credential(authorization_header)
    if found is None or found[0] != "jwt":
        return False
    authenticator: Authenticator = request.app.state.authenticator
    try:
        principal = await authenticator.authenticate(authorization_header)
    except Unauthenticated:
        return False
    return principal is not None and principal.is_service


def _throttled(limit: Callable[[str], None], subject: str) -> JSONResponse | None:
    """The answer where the limit raises TooMany."""
    try:
        limit(subject)
    except TooMany as problem:
        return _slow_down(problem)
    return None


def _slow_down(problem: TooMany) -> JSONResponse:
    """Clients of the Fakts protocol read `slow_down`, and go on later."""
    body = {"error": "slow_down", "error_description": problem.detail}
    return JSONResponse(body, 429, headers={**problem.headers, **NOT_STORED})
