"""Version 1 of the Fakts protocol: start, challenge, claim; and redeem or retrieve where nobody is there.

Each call returns the members of its answer, or raises a problem whose words the app is shown. Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.directory import key_hash
from libs.common.problems import Forbidden, Invalid, NotFound
from libs.common.text import plain
from services.fakts import locks
from services.fakts.context import Context
from services.fakts.models import Client, User
from services.fakts.oauth import answers, discovery
from services.fakts.origin import Origin
from services.fakts.preflight import admission, approvals, manifests, parameters, redeem_tokens, starts
from services.fakts.preflight.approvals import Standing
from services.fakts.preflight.starts import Asked
from services.fakts.preflight.strategies.interface import Approve, Via
from services.fakts.where import Where

GRANTED, PENDING, DENIED = "granted", "pending", "denied"
REPORT_PATH = f"{discovery.BASE_PATH}report/"


async def start(
    session: AsyncSession, context: Context, document: Mapping[str, Any], where: Where, version: str
) -> dict[str, Any]:
    """An app asks to be let in; the code is what a person sees, and what it polls with."""
    asked = parameters.read(document, version)
    started = await starts.ask(session, context, Asked.of(asked, Via.CHALLENGE, where))
    return {"status": GRANTED, "code": started.code}


async def challenge(
    session: AsyncSession, context: Context, document: Mapping[str, Any], where: Where
) -> dict[str, Any]:
    """Whether somebody decided. A granted code is answered again until it expires.

    Raises:
        NotFound: nobody issued this code. It counts as a guess of this address.
        TooMany: this address guessed too often.
    """
    context.guesses.check(where.address)
    approval = await approvals.of_secret(session, _member(document, "code"), Via.CHALLENGE)
    if approval is None:
        context.guesses.count(where.address)
        raise NotFound("The code is not known")
    match approvals.standing(approval, db.now()):
        case Standing.PENDING:
            return {"status": PENDING, "message": "not decided"}
        case Standing.APPROVED:
            return {"status": GRANTED, "token": context.master.claim_token(approval.client_id)}
        case Standing.DENIED:
            return {"status": DENIED, "message": approval.reason}
        case _:
            raise NotFound("The code has expired")


async def claim(
    session: AsyncSession, context: Context, document: Mapping[str, Any], origin: Origin, where: Where
) -> dict[str, Any]:
    """The configuration of an app that was let in: the same client each time, with what is offered now.

    Raises:
        Forbidden: the token is not known, which counts as a guess of this address, or its app may not act any more.
        TooMany: this address guessed too often.
    """
    token = _member(document, "token")
    client = await of_claim_token(session, context, token, where)
    user = await session.get(User, client.account_id) if client.account_id is not None else None
    if user is None or not user.active:
        raise Forbidden("The account that this app acts for is not active any more.")
    envelope = await answers.envelope(session, context, client, origin=origin, where=where)
    auth = {
        "client_id": str(client.id),
        "client_secret": context.master.client_secret(client.id),
        "client_token": token,
        "token_url": f"{origin.url}{discovery.TOKEN_PATH}",
        "report_url": f"{origin.url}{REPORT_PATH}",
        "scopes": client.scope.split(),
    }
    return {"status": GRANTED, "config": {**envelope, "auth": auth}}


async def redeem(
    session: AsyncSession, context: Context, document: Mapping[str, Any], where: Where
) -> dict[str, Any]:
    """Nobody is there: a token stands for an approval."""
    manifest = manifests.of_document(document.get("manifest"))
    client = await redeem_tokens.redeem(session, context, _member(document, "token"), manifest, where)
    return {"status": GRANTED, "token": context.master.claim_token(client.id)}


async def retrieve(
    session: AsyncSession, context: Context, document: Mapping[str, Any], where: Where, version: str
) -> dict[str, Any]:
    """An app that a rule lets in by itself. The same manifest again is the same client, while the rule says so."""
    asked = Asked.of(parameters.read(document, version), Via.RETRIEVE, where)
    rule, decision = await starts.decide(session, asked)
    if not isinstance(decision, Approve):
        raise Forbidden("A person has to approve this app.")
    user, organization = await admission.named(session, decision, rule)
    await locks.take(session, locks.JOINING)
    client = await session.scalar(
        select(Client)
        .where(
            Client.identifier == asked.manifest.identifier,
            Client.manifest == asked.manifest.model_dump(mode="json"),
            Client.kind == asked.kind,
            Client.account_id == user.id,
            Client.organization_id.is_not_distinct_from(organization.id if organization is not None else None),
            Client.claim_digest.is_not(None),
            Client.redeem_token_id.is_(None),
            Client.declined == [],
            Client.approved_at.is_not(None),
            Client.ended_at.is_(None),
        )
        .order_by(Client.created_at)
        .limit(1)
    )
    if client is None:
        client = admission.new_client(asked.manifest, asked.scope, asked.kind)
        client.redirect_uris = list(asked.redirect_uris)
        admission.give_secrets(context, client)
        session.add(client)
        await admission.check_offered(session, client, where.address)
        admission.let_in(client, user, organization)
        detail = f"client {client.id} by rule '{rule}'"
        await context.audit.record(
            session, actor=user.name, action="app.retrieve", subject=client.identifier, detail=detail
        )
    return {"status": GRANTED, "token": context.master.claim_token(client.id)}


async def of_claim_token(session: AsyncSession, context: Context, token: str, where: Where) -> Client:
    """The client whose claim token it is.

    Raises:
        Forbidden: that of none, which counts as a guess of this address, or of one that was revoked.
        TooMany: this address guessed too often.
    """
    context.guesses.check(where.address)
    client = await session.scalar(select(Client).where(Client.claim_digest == key_hash(token)))
    if client is None:
        context.guesses.count(where.address)
    if client is None or client.approved_at is None or client.ended_at is not None:
        raise Forbidden("This token is not known, or was revoked.")
    return client


def _member(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"send the {name}, a text")
    return plain(value)
