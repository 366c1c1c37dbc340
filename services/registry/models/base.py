"""What tables share, feeds, and what was done."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Enum,
    Identity,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.feed import FeedEntryColumns, FeedVersionColumns
from libs.common.idempotency import AnsweredColumns
from libs.common.lease import Leased


class Base(DeclarativeBase):
    metadata = db.metadata()


def values(kind: type[StrEnum]) -> Enum:
    """The values of an enumeration as text. The database does not check them: a newer release may add some."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


class Work(Leased):
    """Columns of a row that workers act on (see work.py)."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    """Rises with every row of the table: the order of its work."""
    state: Mapped[Any]
    """One of the states of its course (see work.py)."""
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    """Workers that took it since it was last asked for."""
    worker: Mapped[str | None] = mapped_column(String(255))
    hints: Mapped[int] = mapped_column(default=0)
    """How often the job was sent for this attempt."""
    next_hint_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    started_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class AuditEntry(Base):
    """One administrative act."""

    __tablename__ = "audit"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """That of the message, so that one which is delivered twice is kept once."""
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    service: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str | None] = mapped_column(Text)


class Answered(AnsweredColumns, Base):
    __tablename__ = "answered"
