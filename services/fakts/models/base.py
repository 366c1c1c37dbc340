"""What all tables of fakts share, and those that belong to no room."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.feed import FeedEntryColumns, FeedVersionColumns
from libs.common.idempotency import AnsweredColumns


class Base(DeclarativeBase):
    metadata = db.metadata()


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class Answered(AnsweredColumns, Base):
    __tablename__ = "answered"


class AuditEntry(Base):
    """An administrative act that is still to be announced."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    message: Mapped[dict[str, Any]] = mapped_column(JSONB)
