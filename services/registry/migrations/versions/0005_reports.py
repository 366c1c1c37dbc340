"""What satellites apart from the platform report: their runs, what was called there, and those calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "satellite_runs",
        sa.Column("launch_id", sa.Uuid, nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("deployment_id", sa.Uuid),
        sa.Column("satellite_version", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("entries", postgresql.JSONB, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("reported_at", MOMENT, nullable=False),
        sa.Column("first_heard_at", MOMENT, nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("launch_id", "instance", "run", name="pk_satellite_runs"),
        _of_launch("satellite_runs"),
    )
    op.create_index("ix_satellite_runs_heard_at", "satellite_runs", ["heard_at"])
    op.create_table(
        "satellite_usage",
        sa.Column("launch_id", sa.Uuid, nullable=False),
        sa.Column("hour", MOMENT, nullable=False),
        sa.Column("vanity_url", sa.String(81), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("launch_id", "hour", "vanity_url", name="pk_satellite_usage"),
        _of_launch("satellite_usage"),
    )
    op.add_column("calls", sa.Column("launch_id", sa.Uuid))
    op.create_index(
        "ix_calls_launch", "calls", ["launch_id", "at"], postgresql_where=sa.text("launch_id is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_calls_launch", "calls")
    op.drop_column("calls", "launch_id")
    op.drop_table("satellite_usage")
    op.drop_table("satellite_runs")


def _of_launch(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["launch_id"], ["launches.id"], name=f"fk_{table}_launch_id_launches")
