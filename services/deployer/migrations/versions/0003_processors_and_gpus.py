"""What replicas keep of processors and GPUs, and how many GPUs workers have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table, column in (
        ("workers", sa.Column("gpus", sa.Integer, nullable=False, server_default="0")),
        ("replicas", sa.Column("cpus", sa.Float, nullable=False, server_default="0")),
        ("replicas", sa.Column("gpus", sa.Integer, nullable=False, server_default="0")),
    ):
        op.add_column(table, column)
        op.alter_column(table, column.name, server_default=None)


def downgrade() -> None:
    op.drop_column("replicas", "gpus")
    op.drop_column("replicas", "cpus")
    op.drop_column("workers", "gpus")
