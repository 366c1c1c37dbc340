"""Starts: an app asks to be let in, and a rule decides at once, or who decides.

An app that asks becomes a client that may not log in yet; the decision turns it into one that may. Nothing here
commits.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db, logs, rows
from libs.common.contracts.joining import SERVICE_PREFIX, Manifest
from libs.common.problems import Forbidden, Invalid, Problem
from services.fakts.context import Context
from services.fakts.models import Approval, AuditEntry, Client
from services.fakts.preflight import admission, approvals, codes, manifests, rule_list, rules
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.parameters import Start
from services.fakts.preflight.strategies import catalog
from services.fakts.preflight.strategies.interface import Approve, AskPerson, Needs, Preflight, Refuse, Via
from services.fakts.where import Where

log = logs.get(__name__)


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
    """As a row of an approval keeps it."""

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
    """An attempt that is under way, or that a rule decided at once: `standing` of the approval says which.

    The rows are as they were written; the session does not follow them.
    """

    approval: Approval
    client: Client
    code: str
    """What a person sees."""
    secret: str
    """What the app polls with. In protocol 1 it is the code."""


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
    approval = Approval(
        via=asked.via,
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
    new: list[Client | AuditEntry] = [client] if asked.client is None else []
    if isinstance(decision, Approve):
        new += await _by_rule(session, context, approval, client, decision)
    code, secret = _draw(approval)
    while not await rows.write(session, *new, approval, unless_taken=True):
        new = []  # these were written
        code, secret = _draw(approval)
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
) -> list[AuditEntry]:
    """What a rule approved: let in, unless it cannot be. Returns what is to be noted."""
    try:
        user, organization = await admission.named(session, decision, approval.rule)
        await admission.check_offered(session, client, approval.address)
    except Problem as problem:
        approval.state, approval.reason, approval.decided_at = Standing.DENIED, problem.detail, db.now()
        return []
    await admission.lock(session, client)
    approvals.grant(approval, user, organization)
    if client.approved_at is None:
        admission.let_in(client, user, organization)
        await admission.end_earlier(session, context, client)
    detail = f"client {client.id} by rule '{approval.rule}'"
    return [
        context.audit.entry(session, actor=user.name, action="app.approve", subject=client.identifier, detail=detail)
    ]


def _draw(approval: Approval) -> tuple[str, str]:
    """A code that a person sees, and what the app polls with. Only their digests are kept."""
    via = Via(approval.via)
    code = codes.new(codes.LONG if via is Via.CHALLENGE else codes.SHORT)
    secret = code if via is Via.CHALLENGE else secrets.token_urlsafe(32)
    approval.code_digest, approval.secret_digest = approvals.digest(code), approvals.secret_digest(secret, via)
    return code, secret
