"""`/o/logout/`: applications send people here to sign out. Whoever cannot be sure to be meant is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from authlib.oauth2 import OAuth2Error
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from libs.common.db import Session
from libs.common.openapi import reads_form
from libs.common.problems import Invalid
from services.fakts.api.forms import NOT_STORED, form_request, query_parameters
from services.fakts.context import Context, Ctx, RequestOrigin
from services.fakts.identity import browser_sessions
from services.fakts.oauth import console, logout
from services.fakts.oauth.discovery import LOGOUT_PATH
from services.fakts.oauth.logout import KEPT, Wanted
from services.fakts.pages import sessions
from services.fakts.pages.destinations import HOME, SIGN_IN, form_sources
from services.fakts.pages.rendering import page, page_router, see
from services.fakts.pages.sessions import OptionalPerson, Person, PersonsForm

router = page_router()


@router.get(LOGOUT_PATH.rstrip("/"))
@router.get(LOGOUT_PATH)
async def ask(
    request: Request, session: Session, context: Ctx, origin: RequestOrigin, person: OptionalPerson
) -> Response:
    """Signs out at once with an id token of this session; else the person decides."""
    try:
        asked = _single(query_parameters(request))
    except OAuth2Error as error:
        raise Invalid(str(error.description)) from None
    wanted = await logout.read(session, context, origin, asked)
    if person is None:
        return _gone(request, context, wanted, at_once=wanted.hint is not None)
    if logout.is_of_session(wanted.hint, person.user, person.row.created_at):
        await browser_sessions.end(session, person.user, person.row.digest)
        await console.end_logins(session, context, person.user)
        return _gone(request, context, wanted, at_once=True)
    kept = {name: asked[name] for name in KEPT if name in asked}
    if wanted.client is not None:
        kept["client_id"] = str(wanted.client.id)
    return page(
        "signout.html",
        deployment=context.settings.deployment_name,
        person=person,
        form_sources=form_sources(wanted.back or HOME),
        app=wanted.client.identifier if wanted.client is not None else None,
        kept=kept,
    )


@router.post(LOGOUT_PATH.rstrip("/"), openapi_extra=reads_form(*KEPT))
@router.post(LOGOUT_PATH, openapi_extra=reads_form(*KEPT))
async def take(request: Request) -> Response:
    """The same by a form of the application's. Browsers send no cookie with that, so it is asked for anew."""
    try:
        fields = (await form_request(request)).form
    except OAuth2Error as error:
        raise Invalid(str(error.description)) from None
    return see(f"{LOGOUT_PATH}?{urlencode(dict(fields), quote_via=quote)}")


@router.post(f"{LOGOUT_PATH}confirm", openapi_extra=reads_form(sessions.TOKEN_FIELD, *KEPT))
async def leave(
    request: Request, session: Session, context: Ctx, origin: RequestOrigin, person: Person, form: PersonsForm
) -> Response:
    """The person said that they leave."""
    asked = {name: form.text(name) for name in KEPT if form.text(name)}
    wanted = await logout.read(session, context, origin, asked)
    await browser_sessions.end(session, person.user, person.row.digest)
    await console.end_logins(session, context, person.user)
    return _gone(request, context, wanted, at_once=True)


def _gone(request: Request, context: Context, wanted: Wanted, *, at_once: bool) -> Response:
    """Nobody is signed in with the browser any more.

    Args:
        at_once: back to the application without a further click: it proved that it was signed in to, or the person
            has just decided.
    """
    answer: Response
    if wanted.back is not None and at_once:
        answer = RedirectResponse(wanted.back, 303, headers={**NOT_STORED, "referrer-policy": "no-referrer"})
    else:
        app = wanted.client.identifier if wanted.client is not None else ""
        answer = page(
            "message.html",
            deployment=context.settings.deployment_name,
            title="You are signed out",
            text="Nobody is signed in with this browser.",
            link=(wanted.back, f"Go back to {app}") if wanted.back is not None else (SIGN_IN, "Sign in"),
        )
    sessions.drop_cookie(answer, sessions.SESSION, request)
    return answer


def _single(parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    found = dict(parameters)
    if len(found) != len(parameters):
        raise Invalid("the request names a parameter twice")
    return found
