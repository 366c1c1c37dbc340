"""API keys of users and organizations, as the Algorithmia management API has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Response
from pydantic import AfterValidator, BaseModel, Field

from libs.common import idempotency, web
from libs.common.auth import Caller, account_only, admin_only, manager_only
from libs.common.contracts.identity import Permissions, Principal
from libs.common.db import Session
from services.fakts import locks
from services.fakts.api import organizations, users
from services.fakts.api.paging import Asked, MarkedPage, marked
from services.fakts.context import Context, Ctx
from services.fakts.fields import Expiry, Plain
from services.fakts.identity import api_keys
from services.fakts.identity.api_keys import KeyChange, NewKey
from services.fakts.identity.permissions import is_acl_entry
from services.fakts.models import Account, ApiKey

readers = web.router(account_only)
writers = idempotency.router(manager_only)
administration = idempotency.router(admin_only)

ADMIN_KEY, STANDARD_KEY = "PlatformAdminKey", "AlgorithmKey"
_MAX_ACL = 200


def _legal(permissions: Permissions) -> Permissions:
    if len(permissions.algo_acl) > _MAX_ACL:
        raise ValueError(f"algo_acl has more than {_MAX_ACL} entries")
    for entry in permissions.algo_acl:
        if not is_acl_entry(entry):
            raise ValueError("an entry of algo_acl is algo://*, algo://OWNER/* or algo://OWNER/NAME/*")
    if permissions.referer_host and (
        len(permissions.referer_host) > 255 or not permissions.referer_host.isprintable()
    ):
        raise ValueError("referer_host is the name of a host")
    return permissions


LegalPermissions = Annotated[Permissions, AfterValidator(_legal)]
KeyLabel = Annotated[str, Field(min_length=1, max_length=100), Plain]


class KeyBody(BaseModel):
    key_label: KeyLabel
    key_type: Literal["AlgorithmKey", "PlatformAdminKey", "ManagementKey"] = "AlgorithmKey"
    """`ManagementKey` is the former name of `PlatformAdminKey`."""
    permissions: LegalPermissions = api_keys.NO_PERMISSIONS
    expires_at: Expiry | None = None

    def new(self) -> NewKey:
        return NewKey(
            label=self.key_label,
            admin=self.key_type != STANDARD_KEY,
            permissions=self.permissions,
            expires_at=self.expires_at,
        )


class KeyChangeBody(BaseModel):
    """Members that are left out stay as they are. An `expires_at` of null is none."""

    key_label: KeyLabel | None = None
    permissions: LegalPermissions | None = None
    expires_at: Expiry | None = None

    def change(self) -> KeyChange:
        return KeyChange(
            label=self.key_label,
            permissions=self.permissions,
            expires_at=self.expires_at,
            is_endless="expires_at" in self.model_fields_set and self.expires_at is None,
        )


class ImportBody(KeyBody):
    api_key: str = Field(max_length=100)


@readers.get("/v1/users/{name}/keys")
async def list_of_user(name: str, session: Session, asked: MarkedPage, caller: Caller) -> dict[str, Any]:
    return await _list(session, await users.visible(name, session, caller), asked)


@writers.post("/v1/users/{name}/keys", status_code=201)
async def create_for_user(name: str, body: KeyBody, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    return await _create(session, context, caller, await users.visible(name, session, caller), body)


@writers.patch("/v1/users/{name}/keys/{key_id}")
async def change_of_user(
    name: str, key_id: UUID, body: KeyChangeBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    return await _change(session, context, caller, await users.visible(name, session, caller), key_id, body)


@writers.delete("/v1/users/{name}/keys/{key_id}", status_code=204)
async def revoke_of_user(name: str, key_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    return await _revoke(session, context, caller, await users.visible(name, session, caller), key_id)


@administration.post("/v1/admin/users/{name}/keys", status_code=201)
async def import_for_user(
    name: str, body: ImportBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    """Take over a key that another cluster issued, so that its users need no new one."""
    await locks.take(session, locks.IDENTITY)
    owner = await users.visible(name, session, caller)
    row = await api_keys.import_key(session, context.feed, owner, body.new(), body.api_key)
    await context.audit.record(session, actor=caller.name, action="key.import", subject=_subject(row, owner))
    return render(row, owner.name)


@readers.get("/v1/organizations/{name}/keys")
async def list_of_organization(name: str, session: Session, asked: MarkedPage, caller: Caller) -> dict[str, Any]:
    return await _list(session, await organizations.governed(name, session, caller), asked)


@writers.post("/v1/organizations/{name}/keys", status_code=201)
async def create_for_organization(
    name: str, body: KeyBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    return await _create(session, context, caller, await organizations.governed(name, session, caller), body)


@administration.post("/v1/organizations/{name}/members/{user}/keys", status_code=201)
async def create_for_member(
    *, name: str, user: str, body: KeyBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    """A key of the member's own: it acts as the user, within the organization and elsewhere."""
    await locks.take(session, locks.IDENTITY)
    organization = await organizations.governed(name, session, caller)
    return await _create(session, context, caller, await organizations.member(organization, user, session), body)


@writers.patch("/v1/organizations/{name}/keys/{key_id}")
async def change_of_organization(
    name: str, key_id: UUID, body: KeyChangeBody, session: Session, context: Ctx, caller: Caller
) -> dict[str, Any]:
    await locks.take(session, locks.IDENTITY)
    return await _change(session, context, caller, await organizations.governed(name, session, caller), key_id, body)


@writers.delete("/v1/organizations/{name}/keys/{key_id}", status_code=204)
async def revoke_of_organization(name: str, key_id: UUID, session: Session, context: Ctx, caller: Caller) -> Response:
    await locks.take(session, locks.IDENTITY)
    return await _revoke(session, context, caller, await organizations.governed(name, session, caller), key_id)


def render(row: ApiKey, owner: str, raw: str | None = None) -> dict[str, Any]:
    """The key object. The key itself is in the answer to its making, and nowhere else."""
    body = {
        "id": str(row.id),
        "key_label": row.label,
        "key_type": ADMIN_KEY if row.admin else STANDARD_KEY,
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "api_key_mask": row.mask,
        "owner_name": owner,
        "permissions": Permissions.model_validate(row.permissions).model_dump(mode="json"),
    }
    return body if raw is None else {**body, "api_key": raw}


async def _list(session: Session, owner: Account, asked: Asked) -> dict[str, Any]:
    found = await api_keys.page(session, owner, after=asked.after_moment, limit=asked.one_more)
    items = [render(row, name) for row, name in found]
    return marked(asked, items, lambda i: [found[i][0].created_at, found[i][0].id])


async def _create(
    session: Session, context: Context, caller: Principal, owner: Account, body: KeyBody
) -> dict[str, Any]:
    row, raw = await api_keys.create(session, context.feed, owner, body.new(), within=caller)
    await context.audit.record(session, actor=caller.name, action="key.create", subject=_subject(row, owner))
    return render(row, owner.name, raw)


async def _change(
    session: Session, context: Context, caller: Principal, owner: Account, key_id: UUID, body: KeyChangeBody
) -> dict[str, Any]:
    row, _ = await api_keys.get(session, key_id, owner)
    await api_keys.change(session, context.feed, row, owner, body.change(), within=caller)
    await context.audit.record(session, actor=caller.name, action="key.change", subject=_subject(row, owner))
    return render(row, owner.name)


async def _revoke(session: Session, context: Context, caller: Principal, owner: Account, key_id: UUID) -> Response:
    row, _ = await api_keys.get(session, key_id, owner)
    await api_keys.end(session, context.feed, row, owner)
    await context.audit.record(session, actor=caller.name, action="key.revoke", subject=_subject(row, owner))
    return Response(status_code=204)


def _subject(row: ApiKey, owner: Account) -> str:
    return f"{owner.name}/{row.label}/{row.id}"
