"""Decisions of people on apps that ask to be let in. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import Manifest
from libs.common.problems import Conflict, Invalid, NotFound
from services.fakts.context import Context
from services.fakts.models import Approval, Client, User
from services.fakts.preflight import admission, approvals, eligibility
from services.fakts.preflight.approvals import DECLINED, NO_SUCH_CODE, Standing


async def approve(
    session: AsyncSession,
    context: Context,
    approval: Approval,
    *,
    by: User,
    organization: str | None = None,
    declined: Sequence[str] = (),
) -> Approval:
    """Let the app in, acting for the person, and in the organization that they picked.

    Where the rule names one organization only, it is picked if the person picks none.

    Returns: how it was decided: an attempt of an app that needs what is not offered is denied, with the reason.

    Raises:
        NotFound: the attempt is over.
        Forbidden: this person may not approve it.
        Invalid: a requirement is declined that the app does not have or cannot do without, or an organization is to
            be picked and none was.
    """
    client = await approvals.client_of(session, approval)
    picked = await eligibility.picked(session, approval, by, organization)
    _check_declined(client, declined)
    try:
        await admission.check_offered(session, client, approval.address, declined)
    except Conflict as problem:
        await _reload(session, approval)
        _deny(approval, problem.detail)
        return approval
    await admission.lock(session, client)
    await _reload(session, approval)
    approvals.grant(approval, by, picked)
    if client.approved_at is None:
        admission.let_in(client, by, picked, declined)
        await admission.end_earlier(session, context, client)
    await context.audit.record(
        session, actor=by.name, action="app.approve", subject=client.identifier, detail=f"client {client.id}"
    )
    return approval


async def deny(
    session: AsyncSession, context: Context, approval: Approval, *, by: User | None, reason: str = ""
) -> Approval:
    """End the attempt; the app is told the reason.

    Raises:
        NotFound: it is over.
        Forbidden: this person may not decide.
    """
    client = await approvals.client_of(session, approval)
    if by is not None:
        await eligibility.check_may_deny(session, approval, by)
    await _reload(session, approval)
    _deny(approval, reason or DECLINED, by)
    await context.audit.record(
        session,
        actor=by.name if by is not None else "fakts",
        action="app.deny",
        subject=client.identifier,
        detail=approval.reason,
    )
    return approval


def _check_declined(client: Client, declined: Sequence[str]) -> None:
    optional = {one.key: one.optional for one in Manifest.model_validate(client.manifest).requirements or ()}
    for key in declined:
        if key not in optional:
            raise Invalid(f"the app has no requirement '{key[:40]}'")
        if not optional[key]:
            raise Invalid(f"the app cannot do without '{key[:40]}': deny the app, or let it have it")


async def _reload(session: AsyncSession, approval: Approval) -> None:
    """Hold the row, as it is now. Raises NotFound when somebody else decided, or time did."""
    await session.refresh(approval, with_for_update=True)
    if approvals.standing(approval, db.now()) is not Standing.PENDING:
        raise NotFound(NO_SUCH_CODE)


def _deny(approval: Approval, reason: str, by: User | None = None) -> None:
    approval.state = Standing.DENIED
    approval.reason = reason
    approval.decided_by = by.id if by is not None else None
    approval.decided_at = db.now()
