"""`/v1/organizations`, their members and types, as the Algorithmia management API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field

from libs.common import idempotency, web
from libs.common.auth import Caller, account_only, admin_only, manager_only
from libs.common.contracts.identity import MemberRole, Principal, Role
from libs.common.db import Session
from libs.common.problems import Forbidden, Invalid, NotFound
from services.fakts import locks
from services.fakts.api import users
from services.fakts.api.paging import MarkedPage, marked
from services.fakts.context import Ctx, RequestOrigin
from services.fakts.fields import Email, ExternalName, Label, Url, legal_name, required
from services.fakts.identity import accounts, organizations
from services.fakts.identity.organizations import Profile
from services.fakts.models import Organization, User
from services.fakts.origin import Origin

administration = idempotency.router(admin_only)
insiders = web.router(account_only)
owners = idempotency.router(manager_only)


class OrganizationBody(BaseModel):
    org_name: str | None = None
    org_label: Label | None = None
    org_contact_name: Label | None = None
    org_email: Email | None = None
    org_url: Url | None = None
    external_id: ExternalName | None = None
    external_admin_group: ExternalName | None = None
    external_member_group: ExternalName | None = None
    type_id: UUID | None = None

    def profile(self) -> Profile:
        """Raises Invalid when a member is missing that every organization has."""
        return Profile(
            label=required(self.org_label, "org_label"),
            contact_name=required(self.org_contact_name, "org_contact_name"),
            email=required(self.org_email, "org_email"),
            url=self.org_url,
            external_id=self.external_id or None,
            external_admin_group=self.external_admin_group,
            external_member_group=self.external_member_group,
        )


class MemberBody(BaseModel):
    role: MemberRole | None = None


class TypeBody(BaseModel):
    name: str = Field(pattern="^[A-Za-z][A-Za-z0-9_-]{0,29}$")


@administration.get("/v1/organization/types")
async def list_types(session: Session) -> list[dict[str, str]]:
    return [{"id": str(one.id), "name": one.name} for one in await organizations.types(session)]


@administration.post("/v1/organization/types", status_code=201)
async def create_type(body: TypeBody, session: Session, context: Ctx, caller: Caller) -> dict[str, str]:
    await locks.take(session, locks.IDENTITY)
    made = await organizations.create_type(session, body.name)
    await context.audit.record(session, actor=caller.name, action="organization_type.create", subject=body.name)
    return {"id": str(made.id), "name": made.name}


@administration.delete("/v1/organization/types/{type_id}", status_code=204)
async def delete_type(type_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    await organizations.delete_type(session, type_id)
    await context.audit.record(session, actor=caller.name, action="organization_type.delete", subject=str(type_id))
    return Response(status_code=204)


@administration.post("/v1/organizations", status_code=201)
async def create(
    body: OrganizationBody, session: Session, context: Ctx, origin: RequestOrigin, caller: Caller
) -> dict[str, Any]:
    """The administrator who makes it is its first owner."""
    name = legal_name(body.org_name, "org_name")
    profile = body.profile()
    await locks.take(session, locks.IDENTITY)
    owner = await session.get_one(User, caller.account_id)
    made = await organizations.create(session, context.feed, name, profile, type_id=body.type_id, owner=owner)
    await context.audit.record(session, actor=caller.name, action="organization.create", subject=name)
    return render(made, origin)


@administration.get("/v1/organizations")
async def listing(session: Session, origin: RequestOrigin, asked: MarkedPage) -> dict[str, Any]:
    found = await organizations.page(session, after=asked.after_name, limit=asked.one_more)
    return marked(asked, [render(one, origin) for one in found], lambda i: [found[i].name])


@administration.get("/v1/organizations/externalId/{external_id:path}")
async def show_external(external_id: str, session: Session, origin: RequestOrigin) -> dict[str, Any]:
    return render(await organizations.get_external(session, external_id), origin)


@administration.put("/v1/organizations/{name}", status_code=204)
async def change(name: str, body: OrganizationBody, session: Session, context: Ctx, caller: Caller) -> Response:
    profile = body.profile()
    await locks.take(session, locks.IDENTITY)
    organization = await organizations.get(session, name)
    if body.org_name not in (None, organization.name):
        raise Invalid(f"an organization's name never changes: '{organization.name}' cannot become '{body.org_name}'")
    await organizations.change(session, organization, profile, type_id=body.type_id)
    await context.audit.record(session, actor=caller.name, action="organization.change", subject=organization.name)
    return Response(status_code=204)


@administration.delete("/v1/organizations/{name}", status_code=204)
async def delete(name: str, session: Session, context: Ctx, caller: Caller) -> Response:
    """Deactivates the organization. The name is never given to another one."""
    await locks.take(session, locks.IDENTITY)
    try:
        organization = await organizations.get(session, name)
    except NotFound:
        if not await accounts.name_taken(session, name):
            raise
        return Response(status_code=204)
    await organizations.deactivate(session, context.feed, organization)
    await context.audit.record(session, actor=caller.name, action="organization.delete", subject=organization.name)
    return Response(status_code=204)


@insiders.get("/v1/organizations/{name}")
async def show(name: str, session: Session, origin: RequestOrigin, caller: Caller) -> dict[str, Any]:
    return render(await visible(name, session, caller), origin)


@insiders.get("/v1/organizations/{name}/members")
async def list_members(
    name: str, session: Session, origin: RequestOrigin, asked: MarkedPage, caller: Caller
) -> dict[str, Any]:
    organization = await visible(name, session, caller)
    found = await organizations.members(session, organization, after=asked.after_name, limit=asked.one_more)
    items = [render_member(user, role, origin) for user, role in found]
    return marked(asked, items, lambda i: [found[i][0]])


@insiders.get("/v1/organizations/{name}/members/{user}")
async def show_member(
    name: str, user: str, session: Session, origin: RequestOrigin, caller: Caller
) -> dict[str, Any]:
    organization = await visible(name, session, caller)
    found = await member(organization, user, session)
    return render_member(found.name, await organizations.role_of(session, organization, found) or "", origin)


@owners.put("/v1/organizations/{name}/members/{user}")
async def put_member(
    *, name: str, user: str, session: Session, context: Ctx, caller: Caller, body: MemberBody | None = None
) -> Response:
    """201 when the user was added, 200 when it was a member already. A body may name the role."""
    await locks.take(session, locks.IDENTITY)
    organization = await governed(name, session, caller)
    member = await accounts.get(session, user)
    role = body.role if body is not None else None
    added = await organizations.put_member(session, context.feed, organization, member, role)
    subject = f"{organization.name}/{member.name}"
    await context.audit.record(session, actor=caller.name, action="member.put", subject=subject, detail=role)
    return Response(status_code=201 if added else 200)


@owners.delete("/v1/organizations/{name}/members/{user}", status_code=204)
async def remove_member(name: str, user: str, session: Session, context: Ctx, caller: Caller) -> Response:
    """Owners remove members, and members may leave."""
    await locks.take(session, locks.IDENTITY)
    organization = await visible(name, session, caller)
    member = await accounts.get(session, user)
    if member.id != caller.account_id:
        await governed(name, session, caller)
    await organizations.remove_member(session, context.feed, organization, member)
    subject = f"{organization.name}/{member.name}"
    await context.audit.record(session, actor=caller.name, action="member.remove", subject=subject)
    return Response(status_code=204)


async def visible(name: str, session: Session, caller: Principal) -> Organization:
    """The organization, if the caller may know about it. Raises NotFound."""
    organization = await organizations.get(session, name)
    if not (caller.is_admin or organization.name in caller.organizations):
        raise NotFound(f"there is no organization '{name}'", code=organizations.NOT_FOUND)
    return organization


async def member(organization: Organization, user: str, session: Session) -> User:
    """The user, who is a member or invited. Raises NotFound."""
    found = await accounts.find(session, user)
    if found is None or await organizations.role_of(session, organization, found) is None:
        raise NotFound(f"'{user}' is no member of '{organization.name}'", code=accounts.NOT_FOUND)
    return found


async def governed(name: str, session: Session, caller: Principal) -> Organization:
    """The organization, if the caller may decide for it. Raises NotFound or Forbidden."""
    organization = await visible(name, session, caller)
    if not (caller.is_admin or caller.organizations.get(organization.name) == Role.OWNER):
        raise Forbidden(f"only an owner of '{organization.name}' may do this")
    return organization


def render(organization: Organization, origin: Origin) -> dict[str, Any]:
    return {
        "id": str(organization.id),
        "org_name": organization.name,
        "org_label": organization.label,
        "org_contact_name": organization.contact_name,
        "org_email": organization.email,
        "org_url": organization.url,
        "org_created_at": organization.created_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "type_id": str(organization.type_id),
        "external_id": organization.external_id,
        "external_admin_group": organization.external_admin_group,
        "external_member_group": organization.external_member_group,
        "self_link": f"{origin.url}/v1/organizations/{organization.name}",
        "resource_type": "organization",
    }


def render_member(name: str, role: str, origin: Origin) -> dict[str, Any]:
    return {
        "username": name,
        "role": role,
        "user_link": users.link(name, origin),
        "resource_type": "organization_member",
    }
