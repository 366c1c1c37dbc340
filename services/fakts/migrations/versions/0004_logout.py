"""Where clients may have people sent back to once they have signed out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    column = sa.Column("post_logout_redirect_uris", postgresql.JSONB, nullable=False, server_default="[]")
    op.add_column("clients", column)
    op.alter_column("clients", column.name, server_default=None)


def downgrade() -> None:
    op.drop_column("clients", "post_logout_redirect_uris")
