"""Routes of secrets. No answer ever has a value."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request, Response

from libs.common import idempotency, web
from libs.common.auth import Caller, account_only, manager_only
from libs.common.contracts.identity import Principal
from libs.common.db import Session
from libs.common.openapi import reads
from libs.common.problems import NotFound
from services.registry import access, secret_providers, secrets, store, views
from services.registry.api.requests import Parts, Subject, body, of_algorithm
from services.registry.models import Algorithm
from services.registry.secrets import SecretCreate, SecretUpdate

routes = idempotency.router(manager_only)
providers = web.router(account_only)


@providers.get("/v1/secret-provider")
async def list_providers() -> list[dict[str, Any]]:
    return secret_providers.providers()


@of_algorithm(routes, "GET", "/secrets")
async def list_secrets(row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    await _check(session, row, who)
    found = [views.secret(one) for one in await secrets.listed(session, row.id)]
    return {"marker": None, "next_link": None, "results": found, "secrets": found}


@of_algorithm(routes, "POST", "/secrets", openapi_extra=reads(SecretCreate))
async def create_secret(
    request: Request, row: Subject, who: Caller, parts: Parts, session: Session
) -> dict[str, Any]:
    await _check(session, row, who)
    return views.secret(await parts.secrets.add(session, row.id, await body(request, SecretCreate), who))


@of_algorithm(routes, "GET", "/secrets/{secret_id}")
async def get_secret(secret_id: str, row: Subject, who: Caller, session: Session) -> dict[str, Any]:
    await _check(session, row, who)
    return views.secret(await secrets.get(session, row.id, _id(secret_id)))


@of_algorithm(routes, "PUT", "/secrets/{secret_id}", openapi_extra=reads(SecretUpdate))
async def edit_secret(request: Request, row: Subject, who: Caller, parts: Parts, session: Session) -> dict[str, Any]:
    await _check(session, row, who)
    secret_id = _id(request.path_params["secret_id"])
    asked = await body(request, SecretUpdate)
    return views.secret(await parts.secrets.edit(session, row.id, secret_id, asked, who))


@of_algorithm(routes, "DELETE", "/secrets/{secret_id}", status_code=204)
async def delete_secret(secret_id: str, row: Subject, who: Caller, parts: Parts, session: Session) -> Response:
    await _check(session, row, who)
    await parts.secrets.remove(session, row.id, _id(secret_id), who)
    return Response(status_code=204)


async def _check(session: Session, row: Algorithm, who: Principal) -> None:
    access.check_manages(who, row.owner, known=await store.is_public(session, row.id))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no secret '{text}'", code=8008) from None
