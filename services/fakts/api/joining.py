"""`/lok/f/`: leases of the platform's instances, and reports of clients."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, Field

from libs.common import web
from libs.common.auth import Caller, public, service_only
from libs.common.contracts.identity import Principal
from libs.common.contracts.joining import SERVICE_PREFIX, InstanceLease, InstanceOffer
from libs.common.db import Session
from libs.common.directory import credential
from libs.common.problems import Forbidden, Invalid, TooMany, Unauthenticated
from libs.common.text import check_json
from services.fakts.api.protocol_one import refusal
from services.fakts.context import Context, Ctx, RequestWhere
from services.fakts.oauth import clients, endpoints
from services.fakts.oauth.discovery import BASE_PATH
from services.fakts.preflight import instances, protocol_one
from services.fakts.preflight.manifests import MAX_REQUIREMENTS

MAX_ALIASES = 32

leases = web.router(service_only, prefix=f"{BASE_PATH}instances")
reports = web.router(public, prefix=f"{BASE_PATH}report")


async def _client_of_token(request: Request, session: Session, context: Context) -> UUID:
    """The client id of an app's access token. Apps that act for nobody are no principals, but known all the same."""
    found = credential(request.headers.get("authorization"))
    token = await endpoints.access_token(session, context, found[1]) if found and found[0] == "jwt" else None
    if token is None or token.over:
        raise Unauthenticated("send the access token: Authorization: Bearer TOKEN")
    return token.login.client_id


class Report(BaseModel):
    token: str | None = None
    alias_reports: dict[str, dict[str, Any]] = Field(default={}, max_length=MAX_REQUIREMENTS)
    functional: bool = True


@leases.put("/{instance_id}")
async def offer(
    instance_id: UUID, body: InstanceOffer, session: Session, context: Ctx, caller: Caller
) -> InstanceLease:
    """This instance is alive. The answer holds all live instances of what it requires."""
    _check_own(instance_id, caller)
    if body.service != f"{SERVICE_PREFIX}{caller.name}":
        raise Forbidden(f"this token is for instances of {SERVICE_PREFIX}{caller.name}, not of {body.service}")
    if len(body.aliases) > MAX_ALIASES or len(body.requirements) > MAX_REQUIREMENTS:
        raise Invalid(f"at most {MAX_ALIASES} aliases and {MAX_REQUIREMENTS} requirements")
    _check_text(body.model_dump(mode="json"))
    mandate = await clients.mandate_of(session, instance_id)
    if mandate is None:
        raise Unauthenticated("this instance is not known any more; log in again")
    if mandate.revoked_at is not None:
        raise Forbidden("the key that this instance joined with was revoked")
    seconds = context.settings.lease_seconds
    await instances.offer(session, instance_id, body, seconds=seconds)
    composition = await instances.resolve(session, body.requirements)
    return InstanceLease(lease_seconds=seconds, instances=composition.instances, statuses=composition.statuses)


@leases.delete("/{instance_id}", status_code=204)
async def leave(instance_id: UUID, session: Session, caller: Caller) -> Response:
    """The instance is in nobody's answers from now on."""
    _check_own(instance_id, caller)
    await instances.end(session, instance_id)
    return Response(status_code=204)


@reports.post("")
@reports.post("/")
async def report(
    body: Report, request: Request, session: Session, context: Ctx, where: RequestWhere
) -> dict[str, str]:
    """What a client could reach of what it was given. The last word of each client is kept.

    Clients of protocol 1 send their claim token in the body, and know no answer but 200.
    """
    said = body.model_dump(mode="json", exclude={"token"})
    if body.token is None:
        client_id = await _client_of_token(request, session, context)
    else:
        try:
            client_id = (await protocol_one.of_claim_token(session, context, body.token, where)).id
        except (Forbidden, TooMany) as problem:
            return refusal(problem.detail)
    _check_text(said)
    await clients.report(session, client_id, said)
    return {"status": "reported"}


def _check_text(said: dict[str, Any]) -> None:
    try:
        check_json(said)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _check_own(instance_id: UUID, caller: Principal) -> None:
    if caller.instance != str(instance_id):
        raise Forbidden("a token is for one instance, and this is another")
