"""A feed forgets which keys were gone long ago."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from libs.common.db import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for column in (
        sa.Column("floor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("mark", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("marked_at", UtcDateTime(), nullable=False, server_default=sa.func.now()),
    ):
        op.add_column("feed_versions", column)
        op.alter_column("feed_versions", column.name, server_default=None)


def downgrade() -> None:
    for name in ("marked_at", "mark", "floor"):
        op.drop_column("feed_versions", name)
