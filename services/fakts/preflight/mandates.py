"""Mandates: keys with which services and apps log in without a person.

Only the hash of a key is kept. A mandate of kind `service` lets in services of the platform, and nothing else does.
Nothing here commits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.joining import SERVICE_PREFIX
from libs.common.contracts.satellites import reporter
from libs.common.directory import key_hash
from libs.common.problems import Conflict, Invalid, NotFound
from services.fakts.models import Client, Instance, Mandate
from services.fakts.preflight.patterns import MAX_WILDCARDS

SERVICE: Literal["service"] = "service"
APP: Literal["app"] = "app"
_PATTERN = re.compile(r"[^/\s]{1,255}")
_RANDOM_BYTES = 32


@dataclass(frozen=True)
class NewMandate:
    kind: Literal["service", "app"]
    identifiers: tuple[str, ...]
    expires_at: datetime | None = None
    max_clients: int | None = None
    note: str = ""


async def create(session: AsyncSession, new: NewMandate, *, by: str) -> tuple[Mandate, str]:
    """Make a mandate; returns its row and its key, which nobody can show again. Raises Invalid."""
    for pattern in new.identifiers:
        if not _PATTERN.fullmatch(pattern) or pattern.count("*") > MAX_WILDCARDS:
            raise Invalid(
                f"'{pattern[:40]}' is no pattern of identifiers: at most 255 characters, no space, no '/', "
                f"and at most {MAX_WILDCARDS} times '*'"
            )
        if new.kind == SERVICE and not pattern.startswith(SERVICE_PREFIX):
            raise Invalid(f"a mandate for services names them, such as '{SERVICE_PREFIX}worker', not '{pattern}'")
    key = secrets.token_urlsafe(_RANDOM_BYTES)
    row = Mandate(
        digest=key_hash(key),
        kind=new.kind,
        identifiers=list(new.identifiers),
        expires_at=new.expires_at,
        max_clients=new.max_clients,
        note=new.note,
        created_by=by,
    )
    session.add(row)
    await session.flush()
    return row, key


async def ensure_reporter(session: AsyncSession, launch_id: UUID, key: str, *, by: str) -> None:
    """The key lets a launch's gateways report. Raises Conflict when it did, and was revoked."""
    row = await by_key(session, key)
    if row is None:
        new = Mandate(
            digest=key_hash(key),
            kind=APP,
            identifiers=[reporter(launch_id)],
            note="reports of a launch",
            created_by=by,
        )
        session.add(new)
        await session.flush()
    elif row.revoked_at is not None:
        raise Conflict(f"the reports of launch {launch_id} were revoked")


async def get(session: AsyncSession, mandate_id: UUID) -> Mandate:
    """Raises NotFound."""
    row = await session.get(Mandate, mandate_id)
    if row is None:
        raise NotFound(f"there is no mandate {mandate_id}")
    return row


async def by_key(session: AsyncSession, key: str) -> Mandate | None:
    """The mandate of a key, in force or not."""
    return await session.scalar(select(Mandate).where(Mandate.digest == key_hash(key)))


async def revoke(session: AsyncSession, row: Mandate) -> None:
    """Nobody logs in with it any more, and services that did are in nobody's answers. Idempotent.

    Raises Conflict for the platform's join token: the settings would bring it back.
    """
    if row.platform:
        raise Conflict("this is the join token of the settings; change CONSTELLATION_JOIN_TOKEN instead")
    if row.revoked_at is None:
        row.revoked_at = db.now()
        clients = select(Client.id).where(Client.mandate_id == row.id)
        await session.execute(delete(Instance).where(Instance.id.in_(clients)))


async def page(session: AsyncSession, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Mandate]:
    """Mandates, oldest first."""
    query = select(Mandate).order_by(Mandate.created_at, Mandate.id).limit(limit)
    if after is not None:
        query = query.where(tuple_(Mandate.created_at, Mandate.id) > after)
    return (await session.scalars(query)).all()


async def ensure_platform(session: AsyncSession, join_token: str) -> None:
    """The join token of the settings lets in the platform's services. A former one does so no more."""
    digest = key_hash(join_token)
    row = await session.scalar(select(Mandate).where(Mandate.platform))
    if row is None:
        row = Mandate(
            kind=SERVICE,
            identifiers=[f"{SERVICE_PREFIX}*"],
            note="the platform's services",
            platform=True,
            created_by="settings",
        )
        session.add(row)
    row.digest = digest
    await session.flush()
