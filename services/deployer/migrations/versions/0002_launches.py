"""Launches: entries with a fixed number of replicas, and what becomes of orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("launch_id", sa.Uuid),
        sa.Column("launch_deployment_id", sa.Uuid),
        sa.Column("vanity_url", sa.String(100)),
        sa.Column("replicas", sa.Integer),
        sa.Column("labels", postgresql.JSONB, nullable=False, server_default="{}"),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("deployments", column)
    for name in ("labels", "paused"):
        op.alter_column("deployments", name, server_default=None)
    op.create_index("ix_deployments_launch_id", "deployments", ["launch_id"])
    op.alter_column("events", "deployment_id", nullable=True)
    op.add_column("events", sa.Column("launch_deployment_id", sa.Uuid))
    op.create_index("ix_events_launch_deployment_id_id", "events", ["launch_deployment_id", "id"])
    op.create_table(
        "launches",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("order", postgresql.JSONB, nullable=False),
        sa.Column("aim", postgresql.JSONB),
        sa.Column("proven", postgresql.JSONB),
        sa.Column("launched", postgresql.JSONB),
        sa.Column("deadline_at", MOMENT),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_launches"),
    )
    op.create_index(
        "ix_launches_unfinished",
        "launches",
        ["id"],
        postgresql_where=sa.text("state in ('deploying', 'rolling_back', 'failed', 'stopping')"),
    )
    op.create_table(
        "launch_deployments",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("launch_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("order", postgresql.JSONB, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_launch_deployments"),
        sa.ForeignKeyConstraint(
            ["launch_id"], ["launches.id"], name="fk_launch_deployments_launch_id_launches", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("launch_id", "number", name="uq_launch_deployments_launch_id"),
    )
    op.create_index("ix_launch_deployments_started_at_id", "launch_deployments", ["started_at", "id"])


def downgrade() -> None:
    op.drop_table("launch_deployments")
    op.drop_table("launches")
    op.execute("delete from events where deployment_id is null")
    op.drop_index("ix_events_launch_deployment_id_id", "events")
    op.drop_column("events", "launch_deployment_id")
    op.alter_column("events", "deployment_id", nullable=False)
    op.execute("delete from deployments where kind = 'launched'")
    op.drop_index("ix_deployments_launch_id", "deployments")
    for name in ("paused", "labels", "replicas", "vanity_url", "launch_deployment_id", "launch_id"):
        op.drop_column("deployments", name)
