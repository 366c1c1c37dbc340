"""The index of hosted data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(255, collation="C"), nullable=False),
        sa.Column("acl", postgresql.JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("owner_id", "name", name="uq_collections_owner_id"),
    )
    op.create_index("ix_collections_name", "collections", ["name"])
    op.create_index("ix_collections_expires_at", "collections", ["expires_at"])
    op.create_table(
        "objects",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_objects"),
    )
    op.create_index("ix_objects_expires_at", "objects", ["expires_at"])
    op.create_table(
        "files",
        sa.Column("collection_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(1024, collation="C"), nullable=False),
        sa.Column("object_id", sa.Uuid, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("is_text", sa.Boolean, nullable=False),
        sa.Column("modified_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.PrimaryKeyConstraint("collection_id", "name", name="pk_files"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_files_collection_id_collections"),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name="fk_files_object_id_objects"),
        sa.UniqueConstraint("object_id", name="uq_files_object_id"),
    )
    op.create_index("ix_files_expires_at", "files", ["expires_at"])
