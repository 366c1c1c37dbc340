"""How often an order was paused or resumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("orders", sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
    op.alter_column("orders", "revision", server_default=None)


def downgrade() -> None:
    op.drop_column("orders", "revision")
