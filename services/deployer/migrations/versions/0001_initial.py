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
    _workers()
    _deployments()
    _replicas()


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


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("runtime", sa.String(32), nullable=False),
        sa.Column("labels", postgresql.JSONB, nullable=False),
        sa.Column("languages", postgresql.JSONB, nullable=False),
        sa.Column("cpus", sa.Float, nullable=False),
        sa.Column("memory_mib", sa.Integer, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("joined_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_index("ix_workers_lease_until", "workers", ["lease_until"])


def _deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("revision_id", sa.Uuid, nullable=False),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("need", sa.Integer, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("last_needed", MOMENT),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", MOMENT),
        sa.Column("last_failure", sa.Text),
        sa.Column("pending_since", MOMENT),
        sa.Column("pending_reason", sa.Text),
        sa.Column("route", postgresql.JSONB),
        sa.Column("due_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
    )
    op.create_index("ix_deployments_algorithm_id", "deployments", ["algorithm_id"])
    op.create_index("ix_deployments_due_at", "deployments", ["due_at"])
    op.create_index(
        "ix_deployments_pending", "deployments", ["id"], postgresql_where=sa.text("pending_since is not null")
    )
    op.create_index(
        "ix_deployments_idle",
        "deployments",
        ["last_needed"],
        postgresql_where=sa.text("need = 0 and wanted > 0"),
    )
    op.create_table(
        "demands",
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("gateway", sa.String(128), nullable=False),
        sa.Column("in_flight", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", "gateway", name="pk_demands"),
        _of_deployment("demands"),
    )
    op.create_index("ix_demands_gateway", "demands", ["gateway"])
    op.create_index("ix_demands_until", "demands", ["until"])
    op.create_table(
        "planners",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("catalog_epoch", sa.String(36), nullable=False),
        sa.Column("catalog_version", sa.BigInteger, nullable=False),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_until", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_planners"),
    )
    op.create_index("ix_planners_lease_until", "planners", ["lease_until"])


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("revision_id", sa.Uuid, nullable=False),
        sa.Column("worker_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("drain_requested", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("address", postgresql.JSONB),
        sa.Column("memory_mib", sa.Integer, nullable=False),
        sa.Column("secrets_version", sa.Integer, nullable=False),
        sa.Column("spec", postgresql.JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("ready_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_replicas"),
        _of_deployment("replicas"),
    )
    op.create_index("ix_replicas_deployment_id", "replicas", ["deployment_id"])
    op.create_index(
        "ix_replicas_live_worker_id",
        "replicas",
        ["worker_id"],
        postgresql_where=sa.text("state not in ('stopped', 'failed')"),
    )
    op.create_index(
        "ix_replicas_ended",
        "replicas",
        ["since"],
        postgresql_where=sa.text("state in ('stopped', 'failed')"),
    )
    op.create_index("ix_replicas_created_at", "replicas", ["created_at", "id"])
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("deployment_id", sa.Uuid, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("replica_id", sa.Uuid),
        sa.Column("worker_id", sa.String(64)),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        _of_deployment("events"),
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_deployment_id_id", "events", ["deployment_id", "id"])


def _of_deployment(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["deployment_id"],
        ["deployments.id"],
        name=f"fk_{table}_deployment_id_deployments",
        ondelete="CASCADE",
    )
