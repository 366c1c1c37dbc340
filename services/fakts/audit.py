"""The audit trail: what was done is a row in the transaction that did it, until the bus has it.

A bus that cannot be reached delays the news and loses none. A message may come twice.
"""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.bus import Bus
from libs.common.contracts.events import AUDIT_TOPIC, AuditRecorded
from libs.common.db import Database, after_commit
from libs.common.loops import Loop
from services.fakts.models import AuditEntry

_BATCH = 100


class Audit:
    """Records acts, and announces them on the bus."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.bus: Bus | None = None
        """Where to announce. Without one, the news wait."""
        self.loop = Loop("audit", self._announce, every=5.0)

    async def record(
        self, session: AsyncSession, *, actor: str, action: str, subject: str, detail: str | None = None
    ) -> None:
        """Note an act in the session's transaction. Arguments as of `entry`."""
        session.add(self.entry(session, actor=actor, action=action, subject=subject, detail=detail))

    def entry(
        self, session: AsyncSession, *, actor: str, action: str, subject: str, detail: str | None = None
    ) -> AuditEntry:
        """An act, for who writes it with other rows. It is announced after the commit.

        Args:
            actor: name of the account that acts.
            action: such as `key.create`.
            subject: what it was done to, by name or id.
        """
        message = AuditRecorded(
            at=db.now(), service="fakts", actor=actor, action=action, subject=subject, detail=detail
        )
        after_commit(session, self.loop.wake)
        return AuditEntry(message=message.model_dump(mode="json"))

    async def _announce(self) -> None:
        """Announce what waits, oldest first. Raises BusUnavailable; then all of the batch comes again."""
        more = True
        while more and self.bus is not None:
            async with self._database.transaction() as session:
                oldest = select(AuditEntry).order_by(AuditEntry.id).limit(_BATCH).with_for_update(skip_locked=True)
                entries = (await session.scalars(oldest)).all()
                for entry in entries:
                    await self.bus.announce(AUDIT_TOPIC, AuditRecorded.model_validate(entry.message))
                await session.execute(delete(AuditEntry).where(AuditEntry.id.in_([entry.id for entry in entries])))
            more = len(entries) == _BATCH
