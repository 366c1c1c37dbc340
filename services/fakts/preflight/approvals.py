"""Approvals: an app asks to be let in, and a rule or a person decides.

An app that asks becomes a client that may not log in yet; the decision turns it into one that may. Nothing here
commits, but for the end of an attempt that cannot succeed, which outlasts the refusal that tells of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, logs
from libs.common.contracts.joining import SERVICE_PREFIX, Manifest
from libs.common.directory import key_hash
from libs.common.problems import Conflict, Forbidden, Invalid, NotFound, Problem
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.models import Approval, Client, Organization, User
from services.fakts.preflight import admission, codes, eligibility, manifests, rule_list, rules
from services.fakts.preflight.composition import UNAVAILABLE
from services.fakts.preflight.parameters import Start
from services.fakts.preflight.strategies import catalog
from services.fakts.preflight.strategies.interface import Approve, AskPerson, Needs, Preflight, Refuse, Via
from services.fakts.where import Where

log = logs.get(__name__)

NO_SUCH_CODE = "This code is not known: it is mistyped, was used, or has expired. Start again in the app."
DECLINED = "The user declined."
KEEP = timedelta(hours=1)
"""How long an attempt that is over is remembered, so that the app hears how it ended."""


class Standing(StrEnum):
    """How an attempt stands, for the app that polls."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SPENT = "spent"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an app asks for."""

    via: Via
    manifest: Manifest
    where: Where
    seconds: float
    """How long a person may take to decide."""
    scope: str
    """Words separated by spaces."""
    kind: str = "development"
    role: str = "interface"
    redirect_uris: tuple[str, ...] = ()
    organization: str | None = None
    """The organization that the app asks to act in, by name."""
    client: Client | None = None
    """One that is registered already. Else a client is made."""
    redirect: Mapping[str, Any] | None = None
    """For `redirect`: `redirect_uri`, `state`, `nonce`, `code_challenge`, `code_challenge_method`."""

    @classmethod
    def of(cls, start: Start, via: Via, where: Where) -> Asked:
        """What an app of the Fakts protocol asks for."""
        return cls(
            via=via,
            manifest=start.manifest,
            where=where,
            seconds=start.seconds,
            scope=manifests.scopes(start.manifest),
            kind=start.kind,
            role=start.role,
            redirect_uris=start.redirect_uris,
            organization=start.organization,
        )


@dataclass(frozen=True)
class Started:
    """An attempt that is under way, or that a rule decided at once: `standing` of the approval says which."""

    approval: Approval
    client: Client
    code: str
    """What a person sees."""
    secret: str
    """What the app polls with. In protocol 1 it is the code."""


@dataclass(frozen=True)
class Need:
    """A requirement, for a person to see."""

    key: str
    service: str
    optional: bool
    description: str | None
    offered: bool


@dataclass(frozen=True)
class ApprovalView:
    """An attempt, for a person who decides."""

    approval: Approval
    client: Client
    manifest: Manifest
    scope: tuple[str, ...]
    requirements: tuple[Need, ...]
    needs: Needs
    organizations: tuple[str, ...] | None
    """Names of the organizations one of which must be picked; None where any of the person's may be, or none."""
    roles: tuple[str, ...]
    """Roles one of which the person must hold there; empty for any."""
    address: str
    expires_at: datetime

    @property
    def missing(self) -> tuple[str, ...]:
        """Required services that are not offered: approving would fail."""
        return tuple(need.service for need in self.requirements if not need.offered and not need.optional)


def standing(approval: Approval, now: datetime) -> Standing:
    """How the attempt stands. What was decided in time and not fetched in time has expired too."""
    if approval.state in (Standing.DENIED, Standing.SPENT):
        return Standing(approval.state)
    return Standing.EXPIRED if approval.expires_at <= now else Standing(approval.state)


async def ask(session: AsyncSession, context: Context, asked: Asked) -> Started:
    """Begin an attempt, and let the rules decide who decides.

    Raises:
        Invalid: the app has a name that is not for apps.
        Forbidden: a rule refuses it; the message says why, in words for whoever runs the app.
    """
    rule, decision = await decide(session, asked)
    client = asked.client
    if client is None:
        client = admission.new_client(asked.manifest, asked.scope, asked.kind)
        client.redirect_uris = list(asked.redirect_uris)
        if asked.via is Via.CHALLENGE:
            admission.give_secrets(context, client)
        session.add(client)
    code = await _new_code(session, codes.LONG if asked.via is Via.CHALLENGE else codes.SHORT)
    secret = code if asked.via is Via.CHALLENGE else secrets.token_urlsafe(32)
    approval = Approval(
        via=asked.via,
        code_digest=_digest(code),
        secret_digest=_digest(secret) if asked.via is Via.CHALLENGE else key_hash(secret),
        client_id=client.id,
        scope=asked.scope,
        address=asked.where.address,
        redirect=dict(asked.redirect) if asked.redirect is not None else None,
        rule=rule,
        needs=decision.needs if isinstance(decision, AskPerson) else Needs.NOBODY,
        organizations=list(decision.organizations) or None if isinstance(decision, AskPerson) else None,
        roles=list(decision.roles) or None if isinstance(decision, AskPerson) else None,
        expires_at=db.now() + timedelta(seconds=min(asked.seconds, context.settings.code_seconds)),
        state=Standing.PENDING,
        reason="",
    )
    session.add(approval)
    await session.flush()
    if isinstance(decision, Approve):
        await _by_rule(session, context, approval, client, decision)
    return Started(approval, client, code, secret)


async def decide(session: AsyncSession, asked: Asked) -> tuple[str, Approve | AskPerson]:
    """What the rules say: the name of the one that decided, and what it decided. Raises as `ask` does."""
    manifest = asked.manifest
    if manifest.identifier.startswith(SERVICE_PREFIX):
        raise Invalid(f"identifiers that start with '{SERVICE_PREFIX}' are for the platform's own services")
    verdict = rules.decide(await rule_list.current(session), _preflight(asked), catalog.find)
    if verdict.fault is not None:
        log.error("rule_failed", rule=verdict.rule, exc_info=verdict.fault)
    if isinstance(verdict.decision, Refuse):
        log.info("app_refused", app=manifest.identifier, rule=verdict.rule, reason=verdict.decision.reason)
        raise Forbidden(verdict.decision.reason)
    return verdict.rule, verdict.decision


async def find(session: AsyncSession, code: str) -> Approval:
    """The attempt that a person may decide on, by the code they see, however they typed it.

    Raises:
        NotFound: there is none, or it is over; the words are the same.
    """
    approval = await session.scalar(
        select(Approval).where(
            Approval.code_digest == _digest(code),
            Approval.state == Standing.PENDING,
            Approval.expires_at > db.now(),
        )
    )
    if approval is None:
        raise NotFound(NO_SUCH_CODE)
    return approval


async def get(session: AsyncSession, approval_id: UUID) -> Approval:
    """The attempt that a person may decide on, by its id. Raises NotFound as `find` does."""
    approval = await session.get(Approval, approval_id)
    if approval is None or standing(approval, db.now()) is not Standing.PENDING:
        raise NotFound(NO_SUCH_CODE)
    return approval


async def of_secret(session: AsyncSession, secret: str, via: Via) -> Approval | None:
    """The attempt that an app polls for, in whatever state."""
    digest = _digest(secret) if via is Via.CHALLENGE else key_hash(secret)
    return await session.scalar(select(Approval).where(Approval.secret_digest == digest, Approval.via == via))


async def pending(session: AsyncSession, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Approval]:
    """Apps that wait for whichever person, oldest first. Who signs in with a browser decides there and alone."""
    query = (
        select(Approval)
        .where(Approval.state == Standing.PENDING, Approval.expires_at > db.now(), Approval.via != Via.REDIRECT)
        .order_by(Approval.created_at, Approval.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Approval.created_at, Approval.id) > after)
    return (await session.scalars(query)).all()


async def view(session: AsyncSession, approval: Approval) -> ApprovalView:
    """What a person needs to know to decide."""
    client = await client_of(session, approval)
    manifest = Manifest.model_validate(client.manifest)
    found = await admission.composition(session, client, approval.address, ())
    return ApprovalView(
        approval=approval,
        client=client,
        manifest=manifest,
        scope=tuple(approval.scope.split()),
        requirements=tuple(
            Need(one.key, one.service, one.optional, one.description, found.statuses[one.key] != UNAVAILABLE)
            for one in manifest.requirements or ()
        ),
        needs=Needs(approval.needs),
        organizations=tuple(approval.organizations) if approval.organizations is not None else None,
        roles=tuple(approval.roles or ()),
        address=approval.address,
        expires_at=approval.expires_at,
    )


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
    client = await client_of(session, approval)
    picked = await eligibility.picked(session, approval, by, organization)
    _check_declined(client, declined)
    try:
        await admission.check_offered(session, client, approval.address, declined)
    except Conflict as problem:
        await _end(context, approval, problem.detail)
        raise
    await locks.take(session, locks.JOINING)
    await _reload(session, approval)
    await _let_in(session, context, approval, client, by, picked, declined)
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
    client = await client_of(session, approval)
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


async def client_of(session: AsyncSession, approval: Approval) -> Client:
    """The client that asks. Raises NotFound when it was removed meanwhile, with the words of a code that is over."""
    client = await session.get(Client, approval.client_id)
    if client is None or client.ended_at is not None:
        raise NotFound(NO_SUCH_CODE)
    return client


async def purge(session: AsyncSession, now: datetime) -> None:
    """Forget attempts that are long over, and clients that nobody let in. Idempotent."""
    await session.execute(delete(Approval).where(Approval.expires_at < now - KEEP))
    asking = select(Approval.client_id)
    await session.execute(
        delete(Client).where(
            Client.approved_at.is_(None),
            Client.mandate_id.is_(None),
            Client.created_at < now - KEEP,
            Client.id.not_in(asking),
        )
    )


def _preflight(asked: Asked) -> Preflight:
    return Preflight(
        via=asked.via,
        identifier=asked.manifest.identifier,
        version=asked.manifest.version,
        scopes=frozenset(asked.scope.split()),
        kind=asked.kind,
        role=asked.role,
        device=manifests.device(asked.manifest),
        address=asked.where.address,
        zone=asked.where.zone,
        organization=asked.organization,
        at=db.now(),
        manifest=asked.manifest.model_dump(mode="json"),
    )


async def _by_rule(
    session: AsyncSession, context: Context, approval: Approval, client: Client, decision: Approve
) -> None:
    """What a rule approved: let in, unless it cannot be."""
    try:
        user, organization = await admission.named(session, decision, approval.rule)
        await admission.check_offered(session, client, approval.address)
    except Problem as problem:
        approval.state, approval.reason, approval.decided_at = Standing.DENIED, problem.detail, db.now()
        return
    await locks.take(session, locks.JOINING)
    await _let_in(session, context, approval, client, user, organization, ())
    await context.audit.record(
        session,
        actor=user.name,
        action="app.approve",
        subject=client.identifier,
        detail=f"client {client.id} by rule '{approval.rule}'",
    )


async def _let_in(
    session: AsyncSession,
    context: Context,
    approval: Approval,
    client: Client,
    user: User,
    organization: Organization | None,
    declined: Sequence[str],
) -> None:
    """The client may log in. A registered one stays as it is: it is the person's approval that counts there."""
    now = db.now()
    approval.state = Standing.APPROVED
    approval.decided_by = user.id
    approval.decided_at = now
    approval.organization_id = organization.id if organization is not None else None
    if client.approved_at is None:
        await admission.let_in(session, client, user, organization, declined)
        await admission.end_earlier(session, context, client)


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
    if standing(approval, db.now()) is not Standing.PENDING:
        raise NotFound(NO_SUCH_CODE)


async def _end(context: Context, approval: Approval, reason: str) -> None:
    """In a transaction of its own: whoever asked is refused, which undoes theirs."""
    async with context.database.transaction() as session:
        await session.execute(
            update(Approval)
            .where(Approval.id == approval.id, Approval.state == Standing.PENDING)
            .values(state=Standing.DENIED, reason=reason, decided_at=db.now())
        )


async def _new_code(session: AsyncSession, length: int) -> str:
    while True:
        code = codes.new(length)
        digest = _digest(code)
        taken = or_(Approval.code_digest == digest, Approval.secret_digest == digest)
        if await session.scalar(select(Approval.id).where(taken)) is None:
            return code


def _digest(code: str) -> str:
    return key_hash(codes.normal(code))
