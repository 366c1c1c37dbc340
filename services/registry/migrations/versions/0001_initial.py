"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _feeds()
    _algorithms()
    _builds()
    _records()


def _feeds() -> None:
    op.create_table(
        "feed_versions",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(36), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_feed_versions"),
    )
    op.create_table(
        "feed_entries",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", postgresql.JSONB),
        sa.PrimaryKeyConstraint("name", "key", name="pk_feed_entries"),
    )
    op.create_index("ix_feed_entries_version", "feed_entries", ["version"])


def _algorithms() -> None:
    op.create_table(
        "algorithms",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(30), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("details", postgresql.JSONB, nullable=False),
        sa.Column("settings", postgresql.JSONB, nullable=False),
        sa.Column("scaling", postgresql.JSONB, nullable=False),
        sa.Column("sample_input", sa.Text),
        sa.Column("secrets_version", sa.Integer, nullable=False),
        sa.Column("seen_head", sa.String(40)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_algorithms"),
    )
    op.create_index("uq_algorithms_name", "algorithms", ["owner", sa.text("lower(name)")], unique=True)
    op.create_table(
        "pushes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pushes"),
        _of_algorithm("pushes"),
    )
    op.create_index("ix_pushes_algorithm_id", "pushes", ["algorithm_id"])
    op.create_table(
        "secrets",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("short_name", sa.String(100), nullable=False),
        sa.Column("variable", sa.String(255), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("modified_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
        sa.UniqueConstraint("algorithm_id", "short_name", name="uq_secrets_short_name"),
        sa.UniqueConstraint("algorithm_id", "variable", name="uq_secrets_variable"),
        _of_algorithm("secrets"),
    )


def _builds() -> None:
    op.create_table(
        "builds",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("commit", sa.String(40), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("source", sa.String(64)),
        sa.Column("artifact", postgresql.JSONB),
        sa.Column("reason", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(255)),
        sa.Column("hints", sa.Integer, nullable=False),
        sa.Column("next_hint_at", MOMENT),
        sa.Column("log_length", sa.Integer, nullable=False),
        sa.Column("log_received", sa.Integer, nullable=False),
        sa.Column("log_full", sa.Boolean, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_until", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_builds"),
        sa.UniqueConstraint("number", name="uq_builds_number"),
        _of_algorithm("builds"),
    )
    op.create_index("ix_builds_algorithm_id_number", "builds", ["algorithm_id", "number"])
    op.create_index("ix_builds_lease_until", "builds", ["lease_until"])
    op.create_index(
        "uq_builds_commit",
        "builds",
        ["algorithm_id", "commit"],
        unique=True,
        postgresql_where=sa.text("state <> 'failed'"),
    )
    op.create_index(
        "ix_builds_unfinished", "builds", ["state"], postgresql_where=sa.text("state in ('queued', 'running')")
    )
    op.create_table(
        "build_log_chunks",
        sa.Column("build_id", sa.Uuid, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("build_id", "start", name="pk_build_log_chunks"),
        _of_build("build_log_chunks"),
    )
    op.create_table(
        "releases",
        sa.Column("build_id", sa.Uuid, nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("major", sa.Integer, nullable=False),
        sa.Column("minor", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("callability", sa.String(16), nullable=False),
        sa.Column("release_notes", sa.Text),
        sa.Column("sample_input", sa.Text),
        sa.Column("sample_output", sa.Text),
        sa.Column("insights_enabled", sa.Boolean, nullable=False),
        sa.Column("published_at", MOMENT, nullable=False),
        sa.Column("published_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("build_id", name="pk_releases"),
        sa.UniqueConstraint("algorithm_id", "major", "minor", "revision", name="uq_releases_algorithm_id"),
        _of_build("releases"),
        _of_algorithm("releases"),
    )


def _records() -> None:
    op.create_table(
        "calls",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("algorithm_id", sa.Uuid),
        sa.Column("revision_id", sa.Uuid),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("duration_seconds", sa.Double, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("input_head", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "at", name="pk_calls"),
    )
    failed, nested = sa.text("error is not null"), sa.text("error is not null and parent is not null")
    op.create_index("ix_calls_at", "calls", ["at"])
    op.create_index("ix_calls_errors", "calls", ["algorithm_id", "at"], postgresql_where=failed)
    op.create_index("ix_calls_account_errors", "calls", ["account", "at"], postgresql_where=failed)
    op.create_index("ix_calls_nested_errors", "calls", ["at"], postgresql_where=nested)
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("number", name="uq_audit_number"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def _of_algorithm(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_algorithm_id_algorithms"
    return sa.ForeignKeyConstraint(["algorithm_id"], ["algorithms.id"], ondelete="CASCADE", name=name)


def _of_build(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_build_id_builds"
    return sa.ForeignKeyConstraint(["build_id"], ["builds.id"], ondelete="CASCADE", name=name)
