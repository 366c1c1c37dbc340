"""The gateway's tables: the index of hosted data. The bytes are in the object store.

Whoever changes rows locks them in this order: collection, file, objects.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db

EXACT = "C"
"""Names sort and compare by their bytes, so that listings go on where they stopped, on any server."""


class Base(DeclarativeBase):
    metadata = db.metadata()


class Collection(Base):
    """Files of one account under one name."""

    __tablename__ = "collections"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID]
    """Id of the account: one that is made later under the same name sees nothing of it."""
    name: Mapped[str] = mapped_column(String(255, collation=EXACT))
    """See `DataPath.collection`."""
    acl: Mapped[list[str]] = mapped_column(JSONB)
    """Who reads beside the owner; see `acl.py`."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime, default=None, index=True)
    """Of a session: when the call is over for certain, whatever became of its gateway."""

    __table_args__ = (
        UniqueConstraint("owner_id", "name"),
        Index("ix_collections_name", "name"),
    )


class StoredObject(Base):
    """An object in the store. Its row is there before it, and goes after it."""

    __tablename__ = "objects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime, default=None, index=True)
    """When it may be removed; None while it is a file's. For an upload: by when it has to be complete."""


class File(Base):
    """A file of a collection."""

    __tablename__ = "files"

    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(1024, collation=EXACT), primary_key=True)
    object_id: Mapped[UUID] = mapped_column(ForeignKey("objects.id"), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    """In bytes."""
    is_text: Mapped[bool]
    """Its bytes are UTF-8."""
    modified_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime, default=None, index=True)
