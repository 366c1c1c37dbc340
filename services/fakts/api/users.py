"""`/v1/users`: users, as the Algorithmia management API has them. A UUID may stand for the name."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from libs.common import idempotency, web
from libs.common.auth import Caller, account_only, admin_only
from libs.common.contracts.identity import Principal
from libs.common.db import Session
from libs.common.problems import Invalid, NotFound
from services.fakts import locks
from services.fakts.api.paging import MarkedPage, marked
from services.fakts.context import Ctx, RequestOrigin
from services.fakts.fields import Email, Label, legal_name, required
from services.fakts.identity import accounts
from services.fakts.identity.accounts import Profile
from services.fakts.models import User
from services.fakts.origin import Origin

administration = idempotency.router(admin_only, prefix="/v1/users")
own = web.router(account_only, prefix="/v1/users")


class UserBody(BaseModel):
    username: str | None = None
    email: Email | None = None
    fullname: Label | None = None
    company_name: Label | None = None
    company_role: Label | None = None

    def profile(self) -> Profile:
        """Raises Invalid when a member is missing that every user has."""
        return Profile(
            email=required(self.email, "email"),
            fullname=self.fullname,
            company_name=self.company_name,
            company_role=self.company_role,
        )


@administration.post("", status_code=201)
async def create(
    body: UserBody, session: Session, context: Ctx, origin: RequestOrigin, caller: Caller
) -> dict[str, Any]:
    name = legal_name(body.username, "username")
    profile = body.profile()
    await locks.take(session, locks.IDENTITY)
    user = await accounts.create(session, context.feed, name, profile)
    await context.audit.record(session, actor=caller.name, action="user.create", subject=user.name)
    return render(user, origin)


@administration.get("")
async def listing(session: Session, origin: RequestOrigin, asked: MarkedPage) -> dict[str, Any]:
    users = await accounts.page(session, after=asked.after_name, limit=asked.one_more)
    return marked(asked, [render(user, origin) for user in users], lambda i: [users[i].name])


@administration.put("/{name}")
async def change(
    *, name: str, body: UserBody, session: Session, context: Ctx, origin: RequestOrigin, caller: Caller
) -> dict[str, Any]:
    profile = body.profile()
    await locks.take(session, locks.IDENTITY)
    user = await accounts.get(session, name)
    if body.username not in (None, user.name):
        raise Invalid(f"a user's name never changes: '{user.name}' cannot become '{body.username}'")
    await accounts.change_profile(session, user, profile)
    await context.audit.record(session, actor=caller.name, action="user.change", subject=user.name)
    return render(user, origin)


@administration.delete("/{name}", status_code=204)
async def delete(name: str, session: Session, context: Ctx, caller: Caller) -> Response:
    """Deactivates the user. The name is never given to another one."""
    await locks.take(session, locks.IDENTITY)
    user = await accounts.find(session, name)
    if user is not None:
        await accounts.deactivate(session, context.feed, user)
        await context.audit.record(session, actor=caller.name, action="user.delete", subject=user.name)
    elif not await accounts.name_taken(session, name):
        raise NotFound(f"there is no user '{name}'", code=accounts.NOT_FOUND)
    return Response(status_code=204)


@own.get("/{name}")
async def show(name: str, session: Session, origin: RequestOrigin, caller: Caller) -> dict[str, Any]:
    """For administrators, and for the user itself."""
    return render(await visible(name, session, caller), origin)


async def visible(name: str, session: Session, caller: Principal) -> User:
    """The user, if the caller may know about it. Raises NotFound."""
    user = await accounts.find(session, name)
    if user is None or not (caller.is_admin or caller.account_id == user.id):
        raise NotFound(f"there is no user '{name}'", code=accounts.NOT_FOUND)
    return user


def link(name: str, origin: Origin) -> str:
    return f"{origin.url}/v1/users/{name}"


def render(user: User, origin: Origin) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "username": user.name,
        "email": user.email,
        "fullname": user.fullname,
        "company_name": user.company_name,
        "company_role": user.company_role,
        "self_link": link(user.name, origin),
        "resource_type": "user",
    }
