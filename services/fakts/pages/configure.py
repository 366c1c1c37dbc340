"""`/configure`: a person sees what asks to be let in, and decides. Both versions of the Fakts protocol, RFC 8628 and
the authorization endpoint lead here."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Response

from libs.common import db
from libs.common.db import Session
from libs.common.openapi import reads_form
from libs.common.problems import Forbidden, Invalid, NotFound, Problem
from services.fakts.context import Context, Ctx, RequestWhere
from services.fakts.models import Approval
from services.fakts.oauth.authorization import redirect_back
from services.fakts.pages import words
from services.fakts.pages.destinations import CONFIGURE, form_sources
from services.fakts.pages.rendering import page, page_router, see
from services.fakts.pages.sessions import TOKEN_FIELD, Form, Person, PersonsForm, SignedIn
from services.fakts.preflight import admission, approvals, choices, decisions, manifests, views
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.views import ApprovalView

router = page_router(prefix=CONFIGURE)


@router.get("")
@router.get("/")
async def ask_for_code(
    context: Ctx, person: Person, device_code: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """Older apps open the page with the code as a parameter."""
    return see(_path(device_code)) if device_code else _code_page(context, person)


@router.post("", openapi_extra=reads_form(TOKEN_FIELD, "code"))
async def take_code(session: Session, context: Ctx, person: Person, form: PersonsForm) -> Response:
    code = form.text("code").strip()[:100]
    try:
        await _find(session, context, person, code)
    except Problem as problem:
        return _code_page(context, person, code=code, problem=problem)
    return see(_path(code))


@router.get("/{code}")
async def show(code: str, session: Session, context: Ctx, person: Person, where: RequestWhere) -> Response:
    try:
        approval = await _find(session, context, person, code)
        view = await views.of_approval(session, approval)
    except Problem as problem:
        return _code_page(context, person, problem=problem)
    return await _approval_page(session, context, person, view, code, where.address)


@router.post("/{code}", openapi_extra=reads_form(TOKEN_FIELD, "decision", "allow", "organization"))
async def decide(
    *, code: str, session: Session, context: Ctx, person: Person, form: PersonsForm, where: RequestWhere
) -> Response:
    try:
        approval = await _find(session, context, person, code)
        view = await views.of_approval(session, approval)
    except Problem as problem:
        return _code_page(context, person, problem=problem)
    not_offered = admission.not_offered(view.missing) if view.missing else ""
    try:
        if form.text("decision") == "approve":
            decided = await _approve(session, context, person, view, form)
            reason = decided.reason if decided.state == Standing.DENIED else ""
        else:
            await decisions.deny(session, context, approval, by=person.user, reason=not_offered)
            reason = not_offered or "You denied it."
    except (Forbidden, Invalid) as problem:
        return await _approval_page(session, context, person, view, code, where.address, problem=problem)
    except NotFound as problem:
        return _code_page(context, person, problem=problem)
    return await _decided(session, context, person, view, reason=reason)


async def _find(session: Session, context: Context, person: SignedIn, code: str) -> Approval:
    """Raises NotFound, or TooMany for somebody who guesses."""
    subject = f"person {person.user.id}"
    context.guesses.check(subject)
    try:
        return await approvals.find(session, code)
    except NotFound:
        context.guesses.count(subject)
        raise


async def _approve(session: Session, context: Context, person: SignedIn, view: ApprovalView, form: Form) -> Approval:
    allowed = form.all("allow")
    return await decisions.approve(
        session,
        context,
        view.approval,
        by=person.user,
        organization=form.text("organization") or None,
        declined=[
            need.key for need in view.requirements if need.optional and need.offered and need.key not in allowed
        ],
    )


async def _decided(
    session: Session, context: Context, person: SignedIn, view: ApprovalView, *, reason: str
) -> Response:
    """Back to the app that sent the browser, or words.

    Args:
        reason: why the app was not let in; empty if it was.
    """
    if view.approval.redirect is not None:
        back = await redirect_back(session, context, view.approval, authenticated_at=person.row.created_at)
        return see(back)
    return page(
        "decided.html",
        deployment=context.settings.deployment_name,
        person=person,
        app=view.manifest.identifier,
        reason=reason,
    )


async def _approval_page(
    session: Session,
    context: Context,
    person: SignedIn,
    view: ApprovalView,
    code: str,
    address: str,
    problem: Problem | None = None,
) -> Response:
    going_to = str(view.approval.redirect["redirect_uri"]) if view.approval.redirect is not None else ""
    now = db.now()
    return page(
        "approval.html",
        deployment=context.settings.deployment_name,
        person=person,
        status=problem.status if problem is not None else 200,
        form_sources=form_sources(going_to),
        problem=problem,
        view=view,
        choices=await choices.for_person(session, view, person.user),
        path=_path(code),
        author=view.manifest.author if view.manifest.author != "unknown" else "",
        device=manifests.device(view.manifest),
        required=[need for need in view.requirements if not need.optional],
        optional=[need for need in view.requirements if need.optional],
        scopes=words.scopes(view.scope),
        time_left=words.time_left(view.expires_at, now),
        seconds_left=max(1, round((view.expires_at - now).total_seconds()) + 1),
        same_address=view.address == address,
        going_to=going_to,
    )


def _code_page(context: Context, person: SignedIn, *, code: str = "", problem: Problem | None = None) -> Response:
    answer = page(
        "configure.html",
        deployment=context.settings.deployment_name,
        person=person,
        status=problem.status if problem is not None else 200,
        problem=problem,
        code=code,
    )
    answer.headers.update(problem.headers if problem is not None else {})
    return answer


def _path(code: str) -> str:
    return f"{CONFIGURE}/{quote(code, safe='')}"
