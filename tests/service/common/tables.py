"""Tables of a service that exists only in these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.feed import FeedEntryColumns, FeedVersionColumns
from libs.common.lease import Leased

SCHEMA = "sample"


class Base(DeclarativeBase):
    metadata = db.metadata()


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class Job(Leased, Base):
    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    result: Mapped[str | None]


class Owner(Base):
    __tablename__ = "owners"

    id: Mapped[int] = mapped_column(primary_key=True)


class Moment(Base):
    """Has an owner, which the database checks at the commit."""

    __tablename__ = "moments"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owners.id", deferrable=True, initially="DEFERRED"))


class Part(Base):
    """Has an owner, which the database checks at the end of each statement."""

    __tablename__ = "parts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"))
    code: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(default="new")
    note: Mapped[str | None]
    made_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)


@asynccontextmanager
async def sample_database(url: str) -> AsyncIterator[db.Database]:
    """A service's door to a database, in which the tables are made when they are not there."""
    database = db.Database(url, SCHEMA)
    try:
        async with database.engine.begin() as connection:
            await connection.execute(text(f"create schema if not exists {SCHEMA}"))
            await connection.run_sync(Base.metadata.create_all)
        yield database
    finally:
        await database.close()
