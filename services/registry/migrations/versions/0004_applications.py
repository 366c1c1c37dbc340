"""Applications and their linked versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(30), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("default_answer", postgresql.JSONB),
        sa.Column("latency_goal_ms", sa.Integer),
        sa.Column("current", sa.Uuid),
        sa.Column("switching_to", sa.Uuid),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("removed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
    )
    op.create_index(
        "uq_applications_name",
        "applications",
        [sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_index(
        "ix_applications_switching_to",
        "applications",
        ["switching_to"],
        postgresql_where=sa.text("switching_to is not null"),
    )
    op.create_table(
        "linked_versions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("application_id", sa.Uuid, nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("revision_id", sa.Uuid, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(30), nullable=False),
        sa.Column("commit", sa.String(40), nullable=False),
        sa.Column("replicas", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("order_number", sa.Integer, nullable=False),
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("linked_at", MOMENT, nullable=False),
        sa.Column("linked_by", sa.String(64), nullable=False),
        sa.Column("unlinked_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_linked_versions"),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_linked_versions_application_id_applications"
        ),
        sa.UniqueConstraint("application_id", "algorithm_id", "commit", name="uq_linked_versions_application_id"),
    )
    op.create_index("ix_linked_versions_algorithm_id", "linked_versions", ["algorithm_id"])
    op.create_index(
        "ix_linked_versions_starting",
        "linked_versions",
        ["id"],
        postgresql_where=sa.text("state = 'starting' and unlinked_at is null"),
    )


def downgrade() -> None:
    for table in ("linked_versions", "applications"):
        op.drop_table(table)
