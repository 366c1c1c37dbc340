"""Who looks at a page: the cookies of a browser, and the tokens that bind forms to them.

A form carries a token made from a cookie that no script and no other site can read, so that other sites cannot send
it in a person's name. Before sign-in that is the cookie of the visit, afterwards the one of the session.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.db import Session
from libs.common.problems import Forbidden
from services.fakts.context import Context, request_origin, request_where
from services.fakts.identity import browser_sessions
from services.fakts.models import BrowserSession, User
from services.fakts.oauth import console

SESSION, VISIT = "constellation_session", "constellation_visit"
TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM_FIELDS = 200


class SignInFirst(Exception):
    """Only somebody who is signed in sees this page; the browser is sent to the sign-in page and comes back."""


@dataclass(frozen=True)
class SignedIn:
    """A person and the browser session that the request came in."""

    user: User
    row: BrowserSession
    token: str
    """For the forms of pages."""


async def person(request: Request, session: AsyncSession) -> User | None:
    """Who is signed in with the browser that asks."""
    found = await _of_cookie(request, session)
    return found.user if found is not None else None


async def signed_in(request: Request, session: Session) -> SignedIn:
    """Raises SignInFirst."""
    found = await _of_cookie(request, session)
    if found is None:
        raise SignInFirst
    return found


async def perhaps_signed_in(request: Request, session: Session) -> SignedIn | None:
    return await _of_cookie(request, session)


Person = Annotated[SignedIn, Depends(signed_in)]
OptionalPerson = Annotated[SignedIn | None, Depends(perhaps_signed_in)]


@dataclass(frozen=True)
class Form:
    """The fields of a form that this platform's page sent."""

    fields: dict[str, list[str]]

    def text(self, name: str) -> str:
        return (self.fields.get(name) or [""])[0]

    def all(self, name: str) -> list[str]:
        return self.fields.get(name, [])


async def _persons_form(request: Request, person: Person) -> Form:
    return await checked_form(request, person.token)


PersonsForm = Annotated[Form, Depends(_persons_form)]
"""A form of somebody who is signed in, sent from one of our pages."""


async def checked_form(request: Request, token: str) -> Form:
    """The form's fields. Raises Forbidden for a form that our page did not make for this browser."""
    fields: dict[str, list[str]] = {}
    async with request.form(max_files=0, max_fields=_FORM_FIELDS) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.setdefault(name, []).append(value)
    sent = (fields.get(TOKEN_FIELD) or [""])[0]
    if not hmac.compare_digest(sent.encode(), token.encode()):
        raise Forbidden("this page is out of date, or its form was sent from elsewhere; load the page anew")
    return Form(fields)


class Visit:
    """A browser that nobody is signed in with yet."""

    def __init__(self, request: Request) -> None:
        known = request.cookies.get(cookie_name(VISIT, request), "")
        self._new = _COOKIE.fullmatch(known) is None
        self._secret = secrets.token_urlsafe(32) if self._new else known
        self._request = request

    @property
    def token(self) -> str:
        return _form_token(self._secret)

    def remember(self, response: Response) -> None:
        """Give the browser its cookie, if it has none."""
        if self._new:
            set_cookie(response, VISIT, self._secret, self._request)


Visiting = Annotated[Visit, Depends()]


async def begin(
    request: Request, session: AsyncSession, context: Context, response: Response, user: User, *, provider: str | None
) -> None:
    """Sign the browser in. A session that it had before is over."""
    await end(request, session, context)
    agent = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    cookie = await browser_sessions.start(
        session, user, provider=provider, address=request_where(request).address, agent=agent
    )
    set_cookie(response, SESSION, cookie, request, lasts=browser_sessions.LIFETIME)
    how = f"provider {provider}" if provider is not None else "password"
    await context.audit.record(session, actor=user.name, action="user.sign_in", subject=user.name, detail=how)


async def end(request: Request, session: AsyncSession, context: Context) -> None:
    """End the session that the browser has, if any."""
    found = await _of_cookie(request, session)
    if found is not None:
        await browser_sessions.end(session, found.user, found.row.digest)
        await console.end_logins(session, context, found.user)


def cookie_name(name: str, request: Request) -> str:
    """With TLS, a name that only this host itself can set (RFC 6265bis, section 4.1.3.2)."""
    return f"__Host-{name}" if request_origin(request).scheme == "https" else name


def set_cookie(
    response: Response, name: str, value: str, request: Request, *, lasts: timedelta | None = None
) -> None:
    """For this origin alone, and out of reach of scripts and of other sites' forms."""
    response.set_cookie(
        cookie_name(name, request),
        value,
        max_age=int(lasts.total_seconds()) if lasts is not None else None,
        path="/",
        secure=request_origin(request).scheme == "https",
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, name: str, request: Request) -> None:
    set_cookie(response, name, "", request, lasts=timedelta())


def _form_token(secret: str) -> str:
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


async def _of_cookie(request: Request, session: AsyncSession) -> SignedIn | None:
    cookie = request.cookies.get(cookie_name(SESSION, request), "")
    if not _COOKIE.fullmatch(cookie):
        return None
    found = await browser_sessions.find(session, cookie)
    if found is None:
        return None
    row, user = found
    return SignedIn(user, row, _form_token(cookie))
