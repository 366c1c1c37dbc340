"""Which run of a worker's process reported before the present one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("workers", sa.Column("former_run", sa.String(64), nullable=False, server_default=""))
    op.alter_column("workers", "former_run", server_default=None)


def downgrade() -> None:
    op.drop_column("workers", "former_run")
