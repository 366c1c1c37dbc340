"""Satellites, their versions, launches and orders; answers of writes that may be asked again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "answered",
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("answer", postgresql.JSONB, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name="pk_answered"),
    )
    op.create_index("ix_answered_at", "answered", ["at"])
    _satellites()
    _launches()


def _satellites() -> None:
    op.create_table(
        "satellites",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_satellites"),
    )
    op.create_index(
        "uq_satellites_name",
        "satellites",
        [sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_table(
        "accepted_keys",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("keys", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_accepted_keys"),
    )
    op.create_table(
        "satellite_versions",
        sa.Column("satellite_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("entries", postgresql.JSONB, nullable=False),
        sa.Column("keys", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("satellite_id", "number", name="pk_satellite_versions"),
        sa.ForeignKeyConstraint(
            ["satellite_id"], ["satellites.id"], name="fk_satellite_versions_satellite_id_satellites"
        ),
        sa.ForeignKeyConstraint(["keys"], ["accepted_keys.digest"], name="fk_satellite_versions_keys_accepted_keys"),
    )
    op.create_index("ix_satellite_versions_entries", "satellite_versions", ["entries"], postgresql_using="gin")


def _launches() -> None:
    op.create_table(
        "launches",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("satellite_id", sa.Uuid, nullable=False),
        sa.Column("satellite_version", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("target", postgresql.JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_launches"),
        sa.ForeignKeyConstraint(["satellite_id"], ["satellites.id"], name="fk_launches_satellite_id_satellites"),
    )
    op.create_index(
        "uq_launches_name",
        "launches",
        ["satellite_id", sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_table(
        "orders",
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("launch_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("satellite_version", sa.Integer, nullable=False),
        sa.Column("target", postgresql.JSONB, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("promoted_from", sa.Uuid),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", name="pk_orders"),
        sa.ForeignKeyConstraint(["launch_id"], ["launches.id"], name="fk_orders_launch_id_launches"),
        sa.UniqueConstraint("launch_id", "number", name="uq_orders_launch_id"),
    )


def downgrade() -> None:
    for table in ("orders", "launches", "satellite_versions", "accepted_keys", "satellites", "answered"):
        op.drop_table(table)
