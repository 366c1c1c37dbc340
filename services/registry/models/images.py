"""Container images, and what is done to make and push them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.contracts.images import WorkState
from libs.common.lease import Leased
from services.registry.models.base import Base, values


class Work(Leased):
    """Columns of a row that workers act on (see work.py)."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    platform: Mapped[str] = mapped_column(String(64))
    """Of the workers that can do it, such as `linux/amd64`."""
    state: Mapped[WorkState] = mapped_column(values(WorkState), default=WorkState.WANTED)
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


class Image(Work, Base):
    """The container image of a revision, or of a release of Constellation itself, for its platform."""

    __tablename__ = "images"

    revision_id: Mapped[UUID | None] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"))
    release: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(71))
    """Of the newest manifest that was made."""
    base: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Of all its blobs, in bytes."""

    __table_args__ = (
        UniqueConstraint("revision_id", "platform", name="uq_images_revision"),
        UniqueConstraint("release", "platform", name="uq_images_release"),
        CheckConstraint("num_nonnulls(revision_id, release) = 1", name="subject"),
    )


class ImageBlob(Base):
    """A blob of an image, of one that was made before too."""

    __tablename__ = "image_blobs"

    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True, index=True)
    media_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)


class ImagePush(Work, Base):
    """That an image be in another registry."""

    __tablename__ = "image_pushes"

    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(String(512))
    """`HOST/PATH:TAG`."""
    digest: Mapped[str] = mapped_column(String(71))
    """Of the manifest to push."""

    __table_args__ = (UniqueConstraint("image_id", "reference", "digest", name="uq_image_pushes_reference"),)
