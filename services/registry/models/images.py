"""Container images, and what is done to make and push them."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from libs.common.contracts.images import WorkState
from services.registry.models.base import Base, Work, values


class ImageWork(Work):
    """Columns of what is done with images."""

    platform: Mapped[str] = mapped_column(String(64))
    """Of the workers that can do it, such as `linux/amd64`."""
    state: Mapped[WorkState] = mapped_column(values(WorkState), default=WorkState.WANTED)


class Image(ImageWork, Base):
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


class ImagePush(ImageWork, Base):
    """That an image be in another registry."""

    __tablename__ = "image_pushes"

    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(String(512))
    """`HOST/PATH:TAG`."""
    digest: Mapped[str] = mapped_column(String(71))
    """Of the manifest to push."""

    __table_args__ = (UniqueConstraint("image_id", "reference", "digest", name="uq_image_pushes_reference"),)
