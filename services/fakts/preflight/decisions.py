"""Decisions of people on apps that ask to be let in.

Nothing here commits, but for the end of an attempt that cannot succeed, which outlasts the refusal that tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
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

    Raises:
        NotFound: the attempt is over.
        Forbidden: this person may not approve it.
        Invalid: a requirement is declined that the app does not have or cannot do without, or an organization is to
            be picked and none was.
        Conflict: a required service is not offered. The attempt has ended, and the app is told.
    """
    client = await approvals.client_of(session, approval)
    picked = await eligibility.picked(session, approval, by, organization)
    _check_declined(client, declined)
    try:
        await admission.check_offered(session, client, approval.address, declined)
    except Conflict as problem:
        await _end(context, approval, problem.detail)
        raise
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
    approval.state = Standing.DENIED
    approval.reason = reason or DECLINED
    approval.decided_by = by.id if by is not None else None
    approval.decided_at = db.now()
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


async def _end(context: Context, approval: Approval, reason: str) -> None:
    """In a transaction of its own: whoever asked is refused, which undoes theirs."""
    async with context.database.transaction() as session:
        await session.execute(
            update(Approval)
            .where(Approval.id == approval.id, Approval.state == Standing.PENDING)
            .values(state=Standing.DENIED, reason=reason, decided_at=db.now())
        )
