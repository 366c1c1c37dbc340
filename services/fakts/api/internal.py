"""Routes for the other services of the platform."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, SecretStr

from libs.common import web
from libs.common.auth import Caller, service_only
from libs.common.contracts.bundles import DIGEST, SIGNATURE_TYPE
from libs.common.contracts.feeds import FeedPage
from libs.common.contracts.identity import IDENTITY_FEED, Account, Vouched
from libs.common.db import Session
from libs.common.feed import MAX_WAIT
from libs.common.problems import Forbidden
from services.fakts import locks
from services.fakts.context import Ctx
from services.fakts.fields import Plain
from services.fakts.identity import sign_in
from services.fakts.identity.feed import account_body
from services.fakts.identity.passwords import MAX_LENGTH
from services.fakts.preflight import mandates

router = web.router(service_only, prefix="/internal")

_LAUNCHING = frozenset({"registry", "deployer"})
"""Services that bring launches to where they run."""


class PasswordBody(BaseModel):
    username: Annotated[str, Field(max_length=sign_in.MAX_NAME), Plain]
    password: SecretStr = Field(max_length=MAX_LENGTH)
    address: Annotated[str, Field(max_length=255), Plain] | None = None
    """Where the person's request came from. None where the asking service does not know: its own address is no
    person's."""


class TokenBody(BaseModel):
    token: SecretStr = Field(max_length=16 * 1024)


class DigestBody(BaseModel):
    sha256: str = Field(pattern=DIGEST)


class ReportKeyBody(BaseModel):
    launch_id: UUID


@router.get(f"/feeds/{IDENTITY_FEED}")
async def feed(
    context: Ctx,
    since: Annotated[int, Query(ge=0)] = 0,
    epoch: Annotated[str, Query(max_length=36)] = "",
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT)] = 0.0,
) -> FeedPage:
    return await context.publisher.page(IDENTITY_FEED, since=since, epoch=epoch, wait=wait)


@router.post("/passwords/verify")
async def verify_password(body: PasswordBody, context: Ctx) -> Account:
    """The account, if the password is right. A wrong one and an unknown name take as long and look the same."""
    password, address = body.password.get_secret_value(), body.address or ""
    user = await sign_in.with_password(context, body.username, password, address=address)
    async with context.database.transaction() as session:
        return await account_body(session, user)


@router.post("/report-keys")
async def report_key(body: ReportKeyBody, session: Session, context: Ctx, caller: Caller) -> dict[str, str]:
    """The mandate key with which the gateways of a launch report: the same each time."""
    if caller.name not in _LAUNCHING:
        raise Forbidden("this route is for services that launch satellites")
    await locks.take(session, locks.JOINING)
    key = context.master.report_key(body.launch_id)
    await mandates.ensure_reporter(session, body.launch_id, key, by=caller.name)
    return {"key": key}


@router.post("/tokens/exchange")
async def exchange_token(body: TokenBody, context: Ctx) -> Vouched:
    """For whom a trusted issuer's token is."""
    return await context.foreign.vouch(body.token.get_secret_value())


@router.post("/signatures")
async def sign_bundle(body: DigestBody, context: Ctx, caller: Caller) -> dict[str, str]:
    """Sign the digest of a bundle's index."""
    if caller.name != "registry":
        raise Forbidden("only the registry makes bundles")
    async with context.database.transaction() as session:
        return {"signature": await context.keys.sign_digest(session, body.sha256, kind=SIGNATURE_TYPE)}
