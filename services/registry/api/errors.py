"""Routes of recent errors of calls: newest first, of the last days."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from libs.common import web
from libs.common.auth import Caller, account_only
from libs.common.contracts.identity import Account, AccountKind, Principal
from libs.common.db import Session
from libs.common.problems import NotFound
from services.registry import access, calls, views
from services.registry.api.requests import Parts, Subject, of_algorithm
from services.registry.registry import Registry

routes = web.router(account_only)


@of_algorithm(routes, "GET", "/errors")
async def errors_of_algorithm(row: Subject, who: Caller, session: Session) -> list[dict[str, Any]]:
    access.check_insider(who, row.owner)
    return [views.call_error(one) for one in await calls.errors_of_algorithm(session, row.id)]


@routes.get("/v1/users/{user}/errors")
async def errors_of_user(user: str, who: Caller, parts: Parts, session: Session) -> list[dict[str, Any]]:
    """Of a user by name or id: that of its calls, and of everybody's calls of its algorithms."""
    account = await _account(parts, who, user, AccountKind.USER)
    if account is None:
        raise NotFound(f"there is no user '{user}'", code=3000)
    return [views.call_error(one) for one in await calls.errors_of_account(session, account.name)]


@routes.get("/v1/organizations/{name}/errors")
async def errors_of_organization(name: str, who: Caller, parts: Parts, session: Session) -> list[dict[str, Any]]:
    account = await _account(parts, who, name, AccountKind.ORGANIZATION)
    if account is None:
        raise NotFound(f"there is no organization '{name}'", code=3100)
    return [views.call_error(one) for one in await calls.errors_of_account(session, account.name)]


async def _account(parts: Registry, who: Principal, text: str, kind: AccountKind) -> Account | None:
    """The account, if there is one and the caller belongs to it. One that is missing may be new: Fakts is asked."""
    found = _known(parts, text, kind)
    if found is None and await parts.runtime.identity.refresh():
        found = _known(parts, text, kind)
    if found is None or not access.insider(who, found.name):
        return None
    return found


def _known(parts: Registry, text: str, kind: AccountKind) -> Account | None:
    accounts = parts.runtime.directory.accounts
    found = accounts.get(text)
    if found is None:
        try:
            account_id = UUID(text)
        except ValueError:
            return None
        found = next((account for account in accounts.values() if account.id == account_id), None)
    return found if found is not None and found.kind is kind else None
