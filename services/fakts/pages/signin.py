"""`/signin` and `/signout`: people and their passwords."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from libs.common.db import Session
from libs.common.openapi import reads_form
from libs.common.problems import Invalid, Problem, TooMany, Unauthenticated
from services.fakts import locks
from services.fakts.context import Context, Ctx, RequestWhere
from services.fakts.identity import browser_sessions, sign_in
from services.fakts.identity.passwords import MIN_LENGTH
from services.fakts.models import User
from services.fakts.oauth import console
from services.fakts.pages import sessions
from services.fakts.pages.destinations import HOME, SIGN_IN, form_sources, own_path
from services.fakts.pages.rendering import page, page_router, see
from services.fakts.pages.sessions import Form, OptionalPerson, Person, PersonsForm, SignedIn, Visit, Visiting
from services.fakts.where import Where

PASSWORD_PATH = f"{SIGN_IN}/password"

router = page_router()


@router.get(SIGN_IN)
async def ask(
    visit: Visiting,
    context: Ctx,
    person: OptionalPerson,
    then: Annotated[str | None, Query(alias="next")] = None,
    again: bool = False,
    hint: str = "",
) -> Response:
    """Whoever is signed in goes on at once, unless they are to sign in `again`. `hint` is whom an app expects."""
    going_to = own_path(then)
    if person is not None and not again:
        return see(going_to)
    return _sign_in_page(visit, context, going_to, name=hint, again=again)


@router.post(SIGN_IN, openapi_extra=reads_form(sessions.TOKEN_FIELD, "username", "password", "next", "again"))
async def take(request: Request, visit: Visiting, context: Ctx, where: RequestWhere) -> Response:
    """The session begins in a transaction of its own: none is open while the password's hash is computed."""
    form = await sessions.checked_form(request, visit.token)
    going_to, name = own_path(form.text("next")), form.text("username").strip()
    try:
        user = await sign_in.with_password(context, name, form.text("password"), address=where.address)
    except (Unauthenticated, TooMany) as problem:
        again = form.text("again") == "true"
        return _sign_in_page(visit, context, going_to, name=name, again=again, problem=problem)
    answer = see(going_to)
    async with context.database.transaction() as session:
        await sessions.begin(request, session, context, answer, user, provider=None)
    return answer


@router.get("/signout")
async def ask_to_leave(context: Ctx, person: OptionalPerson) -> Response:
    """For pages that cannot send the form themselves, such as the console's."""
    if person is None:
        return see(SIGN_IN)
    return page("signout.html", deployment=context.settings.deployment_name, person=person, app=None, kept={})


@router.post("/signout", openapi_extra=reads_form(sessions.TOKEN_FIELD))
async def leave(request: Request, session: Session, context: Ctx, person: Person, form: PersonsForm) -> Response:  # noqa: ARG001 - the form is checked
    await browser_sessions.end(session, person.user, person.row.digest)
    await console.end_logins(session, context, person.user)
    answer = see(SIGN_IN)
    sessions.drop_cookie(answer, sessions.SESSION, request)
    return answer


@router.get(PASSWORD_PATH)
async def ask_new_password(context: Ctx, person: Person) -> Response:
    return _password_page(context, person)


@router.post(PASSWORD_PATH, openapi_extra=reads_form(sessions.TOKEN_FIELD, "current", "new", "again"))
async def take_new_password(request: Request, context: Ctx, where: RequestWhere) -> Response:
    """Whoever has a password proves it first. All other browsers are signed out.

    No connection is held while the hashes are computed.
    """
    async with context.database.transaction() as session:
        person = await sessions.signed_in(request, session)
    form = await sessions.checked_form(request, person.token)
    try:
        hashed = await _new_hash(context, where, person, form)
    except (Invalid, Unauthenticated, TooMany) as problem:
        return _password_page(context, person, problem=problem)
    async with context.database.transaction() as session:
        await locks.take(session, locks.IDENTITY)
        # A new session, which another browser begins, holds the account's key.
        user = await session.get_one(User, person.user.id, with_for_update={"key_share": True})
        user.password_hash = hashed
        await browser_sessions.end_all(session, user, but=person.row.digest)
        await console.end_logins(session, context, user)
        await context.audit.record(session, actor=user.name, action="user.password", subject=user.name)
    return page(
        "message.html",
        deployment=context.settings.deployment_name,
        person=person,
        title="Your password was changed",
        text="All other browsers were signed out.",
        link=(HOME, "Go to your apps"),
    )


async def _new_hash(context: Context, where: Where, person: SignedIn, form: Form) -> str:
    new = form.text("new")
    if new != form.text("again"):
        raise Invalid("the two new passwords differ; type the same one twice")
    if len(new) < MIN_LENGTH:
        raise Invalid(f"a password has at least {MIN_LENGTH} characters")
    if person.user.password_hash is not None:
        try:
            await sign_in.with_password(context, person.user.name, form.text("current"), address=where.address)
        except Unauthenticated:
            raise Unauthenticated("that is not your current password") from None
    return await context.passwords.hash(new)


def _sign_in_page(
    visit: Visit, context: Context, going_to: str, *, name: str, again: bool, problem: Problem | None = None
) -> Response:
    answer = page(
        "signin.html",
        deployment=context.settings.deployment_name,
        status=problem.status if problem is not None else 200,
        form_sources=form_sources(going_to),
        token=visit.token,
        then=going_to,
        again=again,
        name=name[:100],
        problem=problem,
        providers=context.providers.choices,
    )
    answer.headers.update(problem.headers if problem is not None else {})
    visit.remember(answer)
    return answer


def _password_page(context: Context, person: SignedIn, problem: Problem | None = None) -> Response:
    return page(
        "password.html",
        deployment=context.settings.deployment_name,
        person=person,
        status=problem.status if problem is not None else 200,
        problem=problem,
        at_least=MIN_LENGTH,
    )
