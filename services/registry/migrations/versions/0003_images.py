"""Container images, their blobs, and pushes of them to other registries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "images",
        *_work("images"),
        sa.Column("revision_id", sa.Uuid),
        sa.Column("release", sa.String(64)),
        sa.Column("digest", sa.String(71)),
        sa.Column("base", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["builds.id"], ondelete="CASCADE", name="fk_images_revision_id_builds"
        ),
        sa.UniqueConstraint("revision_id", "platform", name="uq_images_revision"),
        sa.UniqueConstraint("release", "platform", name="uq_images_release"),
        sa.CheckConstraint("num_nonnulls(revision_id, release) = 1", name="subject"),
    )
    op.create_index("ix_images_lease_until", "images", ["lease_until"])
    op.create_table(
        "image_blobs",
        sa.Column("image_id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("image_id", "digest", name="pk_image_blobs"),
        _of_image("image_blobs"),
    )
    op.create_index("ix_image_blobs_digest", "image_blobs", ["digest"])
    op.create_table(
        "image_pushes",
        *_work("image_pushes"),
        sa.Column("image_id", sa.Uuid, nullable=False),
        sa.Column("reference", sa.String(512), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        _of_image("image_pushes"),
        sa.UniqueConstraint("image_id", "reference", "digest", name="uq_image_pushes_reference"),
    )
    op.create_index("ix_image_pushes_lease_until", "image_pushes", ["lease_until"])


def downgrade() -> None:
    for table in ("image_pushes", "image_blobs", "images"):
        op.drop_table(table)


def _work(table: str) -> list[Any]:
    """Of a row that workers act on."""
    return [
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(255)),
        sa.Column("hints", sa.Integer, nullable=False),
        sa.Column("next_hint_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_until", MOMENT),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("number", name=f"uq_{table}_number"),
    ]


def _of_image(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_image_id_images"
    return sa.ForeignKeyConstraint(["image_id"], ["images.id"], ondelete="CASCADE", name=name)
