"""What a launch answers to is in the feed alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_column("launches", "launched")


def downgrade() -> None:
    op.add_column("launches", sa.Column("launched", postgresql.JSONB))
