"""The audit trail of the platform: what other services announce, and what the registry itself did.

The registry's own acts are written in the transaction that carries them out, and announced besides for whoever
listens; the announcement is not written a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus, delivery
from libs.common.contracts.events import AUDIT_TOPIC, AuditRecorded
from libs.common.contracts.identity import Principal
from libs.common.db import Database, after_commit, now
from libs.common.pages import Page
from libs.common.text import storable
from services.registry.models import AuditEntry
from services.registry.pages import Paging

SERVICE = "registry"
LISTENER = "registry.audit"


class Audit:
    def __init__(self, bus: Bus, database: Database) -> None:
        self._bus = bus
        self._database = database

    def record(
        self, session: AsyncSession, who: Principal, action: str, subject: str, detail: str | None = None
    ) -> None:
        """An act of the session's transaction. `action` is such as `algorithm.create`; `detail` holds no secret."""
        act = AuditRecorded(at=now(), service=SERVICE, actor=who.name, action=action, subject=subject, detail=detail)
        session.add(AuditEntry(id=uuid4(), **act.model_dump()))
        after_commit(session, lambda: self._bus.announce(AUDIT_TOPIC, act))

    async def hear(self, act: AuditRecorded) -> None:
        """Keep what another service announced, once."""
        if act.service == SERVICE:
            return
        said = act.model_dump().items()
        values = {name: storable(one) if isinstance(one, str) else one for name, one in said}
        statement = insert(AuditEntry).values(id=UUID(delivery().id), **values)
        async with self._database.transaction() as session:
            await session.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    async def purge(self, days: int) -> None:
        """Forget acts that are older."""
        async with self._database.transaction() as session:
            await session.execute(delete(AuditEntry).where(AuditEntry.at < now() - timedelta(days=days)))


async def entries(
    session: AsyncSession, paging: Paging, *, actor: str | None, action: str | None, subject: str | None
) -> Page[AuditEntry]:
    """Acts, newest first, of those whose members are as asked for."""
    query = select(AuditEntry).order_by(AuditEntry.number.desc()).limit(paging.limit + 1)
    for column, value in ((AuditEntry.actor, actor), (AuditEntry.action, action), (AuditEntry.subject, subject)):
        if value is not None:
            query = query.where(column == value)
    if paging.after is not None:
        query = query.where(AuditEntry.number < paging.after[0])
    rows: Sequence[AuditEntry] = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda entry: (entry.number,))
