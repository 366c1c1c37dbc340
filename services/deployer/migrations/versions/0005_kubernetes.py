"""Launches in clusters: where something of them is, what was seen of them there, and who looks after them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("launches", sa.Column("places", postgresql.JSONB, nullable=False, server_default="[]"))
    op.alter_column("launches", "places", server_default=None)
    for column in (
        sa.Column("observed", postgresql.JSONB),
        sa.Column("looked_at", MOMENT),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_until", MOMENT),
    ):
        op.add_column("launches", column)
    op.add_column("launch_deployments", sa.Column("images", postgresql.JSONB))
    op.create_index("ix_launches_lease_until", "launches", ["lease_until"])
    op.create_index("ix_launches_placed", "launches", ["looked_at"], postgresql_where=sa.text("places <> '[]'"))


def downgrade() -> None:
    op.drop_column("launch_deployments", "images")
    op.drop_index("ix_launches_placed", "launches")
    op.drop_index("ix_launches_lease_until", "launches")
    for name in ("lease_until", "lease_token", "looked_at", "observed", "places"):
        op.drop_column("launches", name)
