"""The authorization endpoint: a person whom a client sent, and what the browser takes back to the client.

Codes are bound to the login that they open, to the redirect URI and to the code challenge (RFC 7636).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import Manifest
from libs.common.directory import key_hash
from libs.common.problems import Conflict, Forbidden, Invalid, NotFound
from services.fakts.context import Context
from services.fakts.models import Approval, AuthorizationCode, Client, Organization, User
from services.fakts.oauth import console, logins, prompts, provider
from services.fakts.oauth.discovery import AUTHORIZE_PATH
from services.fakts.oauth.prompts import Next, Unanswerable
from services.fakts.oauth.server import Request, legal_words
from services.fakts.origin import Origin
from services.fakts.pages.destinations import sign_in
from services.fakts.preflight import approvals, starts
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.starts import Asked
from services.fakts.preflight.strategies.interface import Via
from services.fakts.where import Where

_RANDOM_BYTES = 32


async def begin(
    session: AsyncSession,
    context: Context,
    origin: Origin,
    where: Where,
    parameters: Sequence[tuple[str, str]],
    *,
    person: User | None,
    signed_in_at: datetime | None,
) -> str:
    """Where the browser goes next: to sign in, to the page where the person decides, or back to the client.

    Args:
        parameters: of the query, in their order.
        person: who is signed in with the browser, since when.

    Raises:
        Invalid: the client or its redirect URI is not known here, so the person is told, and nobody else.
    """
    request = Request("GET", parameters)
    asked: dict[str, Any] = {**_kept(request), "issuer": context.issuer(origin)}
    if not request.payload.redirect_uri:
        asked["redirect_uri_implied"] = True
    try:
        client, scope, asked["redirect_uri"] = await provider.check_authorization_request(
            session, context, origin, where, request
        )
    except OAuth2Error as error:
        if not error.redirect_uri:
            raise Invalid(f"this app sent you here with a request that is not right: {error.description}") from None
        return error_url({**asked, "redirect_uri": error.redirect_uri}, error.error, error.get_error_description())
    try:
        wish = prompts.read(request.args)
        consent = await logins.consented(session, client.row, person, scope.split()) if person is not None else None
        consented = consent is not None or console.is_console(client.row)
        following = prompts.decide(wish, signed_in_at=signed_in_at, consented=consented, now=db.now())
    except Unanswerable as error:
        return error_url(asked, error.error, str(error))
    if following in (Next.SIGN_IN, Next.SIGN_IN_AGAIN):
        again = following is Next.SIGN_IN_AGAIN
        return sign_in(_again(parameters, satisfied=again), again=again, hint=request.args.get("login_hint", ""))
    assert person is not None  # noqa: S101 - else they would have to sign in
    if following is Next.GO_BACK:
        organization = None
        if consent is not None and consent.organization_id is not None:
            organization = await session.get(Organization, consent.organization_id)
        return await answer_with_code(
            session, context, client.row, person, organization, asked, scope, authenticated_at=signed_in_at
        )
    return await _ask(session, context, where, client.row, scope, asked, person, signed_in_at=signed_in_at)


async def redirect_back(
    session: AsyncSession, context: Context, approval: Approval, *, authenticated_at: datetime | None = None
) -> str:
    """Where the browser goes once a `redirect` approval is decided: with a code, or with the reason why not.

    An approval gives one code.

    Args:
        authenticated_at: when the person signed in; None for when it decided.

    Raises:
        Conflict: nobody decided yet.
        NotFound: it was answered before, or is of another kind.
    """
    await session.flush()
    await session.refresh(approval, with_for_update=True)
    asked = approval.redirect
    if asked is None or approval.state == Standing.SPENT:
        raise NotFound("there is nothing to go back to; start again from the app")
    if approval.state == Standing.DENIED:
        return error_url(asked, "access_denied", approval.reason or approvals.DECLINED)
    if approval.state != Standing.APPROVED:
        raise Conflict("nobody decided yet")
    account = await session.get(User, approval.decided_by) if approval.decided_by is not None else None
    if account is None:
        raise NotFound("nobody approved this; start again from the app")
    client = await session.get_one(Client, approval.client_id)
    approval.state = Standing.SPENT
    organization = None
    if approval.organization_id is not None:
        organization = await session.get(Organization, approval.organization_id)
    moment = authenticated_at or approval.decided_at
    return await answer_with_code(
        session, context, client, account, organization, asked, approval.scope, authenticated_at=moment
    )


async def answer_with_code(
    session: AsyncSession,
    context: Context,
    client: Client,
    account: User,
    organization: Organization | None,
    asked: Mapping[str, Any],
    scope: str,
    *,
    authenticated_at: datetime | None,
) -> str:
    """Log the client in for the account; returns the redirect URI with a code for that login.

    Args:
        asked: `redirect` of an approval.
    """
    login, _ = await logins.open_login(
        session,
        context,
        client,
        account=account,
        organization=organization,
        scope=scope,
        nonce=asked.get("nonce"),
        authenticated_at=authenticated_at,
        refreshes=False,
    )
    code = secrets.token_urlsafe(_RANDOM_BYTES)
    session.add(
        AuthorizationCode(
            digest=key_hash(code),
            login_id=login.id,
            redirect_uri="" if asked.get("redirect_uri_implied") else asked["redirect_uri"],
            code_challenge=asked.get("code_challenge") or "",
            code_challenge_method=asked.get("code_challenge_method") or "",
            expires_at=db.now() + timedelta(seconds=context.settings.authorization_code_seconds),
        )
    )
    await session.flush()
    return _url(asked, {"code": code})


async def _ask(
    session: AsyncSession,
    context: Context,
    where: Where,
    client: Client,
    scope: str,
    asked: Mapping[str, Any],
    person: User,
    *,
    signed_in_at: datetime | None,
) -> str:
    """The person decides, on a page; or a rule does, here. Raises TooMany.

    A rule that lets apps act for an account lets in nobody else: who signs in is who is at the browser.
    """
    context.starts.take(where.address)
    try:
        started = await starts.ask(
            session,
            context,
            Asked(
                via=Via.REDIRECT,
                manifest=Manifest.model_validate(client.manifest),
                where=where,
                seconds=context.settings.code_seconds,
                scope=scope,
                kind=client.kind,
                client=client,
                redirect=asked,
            ),
        )
    except Forbidden as refusal:
        return error_url(asked, "access_denied", refusal.detail)
    if approvals.standing(started.approval, db.now()) is Standing.PENDING:
        return f"/configure/{started.code}"
    if started.approval.decided_by != person.id:
        words = f"The rule '{started.approval.rule}' lets this app act for another account than yours."
        return error_url(asked, "access_denied", words)
    approval = await session.get_one(Approval, started.approval.id)
    return await redirect_back(session, context, approval, authenticated_at=signed_in_at)


def _kept(request: Request) -> dict[str, str]:
    """What the answer needs of the request."""
    names = ("state", "nonce", "code_challenge", "code_challenge_method")
    return {name: value for name in names if (value := request.args.get(name))}


def _again(parameters: Sequence[tuple[str, str]], *, satisfied: bool) -> str:
    """The same request, for after signing in. Having just done that answers what asked for it."""
    answered = ("prompt", "max_age") if satisfied else ()
    kept = [(name, value) for name, value in parameters if name not in answered]
    if satisfied and "consent" in dict(parameters).get("prompt", "").split():
        kept.append(("prompt", "consent"))
    return f"{AUTHORIZE_PATH}?{urlencode(kept, quote_via=quote)}"


def error_url(asked: Mapping[str, Any], error: str, words: str) -> str:
    """The redirect URI with an error (RFC 6749, section 4.1.2.1)."""
    return _url(asked, {"error": error, "error_description": legal_words(words)})


def _url(asked: Mapping[str, Any], answer: Mapping[str, str]) -> str:
    """The redirect URI with the answer, the client's state, and who answers (RFC 9207)."""
    state = {"state": asked["state"]} if asked.get("state") else {}
    url: str = add_params_to_uri(asked["redirect_uri"], {**answer, **state, "iss": asked["issuer"]})
    return url
