"""`/apps`: the apps that a person let in, and the browsers where the person is signed in; each can be ended."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response

from libs.common.db import Session
from libs.common.openapi import reads_form
from services.fakts.context import Ctx
from services.fakts.identity import browser_sessions
from services.fakts.oauth import console, own
from services.fakts.pages.destinations import HOME
from services.fakts.pages.rendering import page, page_router, see
from services.fakts.pages.sessions import TOKEN_FIELD, Person, PersonsForm

router = page_router(prefix=HOME)


@router.get("")
async def show(session: Session, context: Ctx, person: Person) -> Response:
    return page(
        "apps.html",
        deployment=context.settings.deployment_name,
        person=person,
        apps=await own.page(session, person.user),
        browsers=await browser_sessions.of_user(session, person.user),
        providers=dict(context.providers.choices),
    )


@router.post("/browsers/end", openapi_extra=reads_form(TOKEN_FIELD, "browser"))
async def end_browser(session: Session, context: Ctx, person: Person, form: PersonsForm) -> Response:
    await browser_sessions.end(session, person.user, form.text("browser"))
    await console.end_logins(session, context, person.user)
    return see(HOME)


@router.post("/browsers/end-others", openapi_extra=reads_form(TOKEN_FIELD))
async def end_other_browsers(session: Session, context: Ctx, person: Person, form: PersonsForm) -> Response:  # noqa: ARG001 - the form is checked
    await browser_sessions.end_all(session, person.user, but=person.row.digest)
    await console.end_logins(session, context, person.user)
    return see(HOME)


@router.post("/{client_id}/revoke", openapi_extra=reads_form(TOKEN_FIELD))
async def revoke(client_id: UUID, session: Session, context: Ctx, person: Person, form: PersonsForm) -> Response:  # noqa: ARG001 - the form is checked
    """It is logged in no more, everywhere within a second."""
    name = await own.revoke(session, context, person.user, client_id)
    await context.audit.record(session, actor=person.user.name, action="app.revoke", subject=name)
    return see(HOME)
