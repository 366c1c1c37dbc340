"""Algorithms: how they were built, published and called."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Callability, Language
from services.registry.models.base import Base, Work, values


class Algorithm(Base):
    """One algorithm. Whoever changes anything that belongs to it locks its row first."""

    __tablename__ = "algorithms"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(30))
    language: Mapped[Language] = mapped_column(values(Language))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)
    scaling: Mapped[dict[str, Any]] = mapped_column(JSONB)
    sample_input: Mapped[str | None] = mapped_column(Text)
    secrets_version: Mapped[int] = mapped_column(default=0)
    seen_head: Mapped[str | None] = mapped_column(String(40))
    """Commit of `master` that was last looked at: a newer one is a push whose build is still to be requested."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(db.UtcDateTime)


Index("uq_algorithms_name", Algorithm.owner, func.lower(Algorithm.name), unique=True)


class Push(Base):
    """A push that is under way, or whose registry died before it could look at what arrived."""

    __tablename__ = "pushes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    algorithm_id: Mapped[UUID] = mapped_column(ForeignKey("algorithms.id", ondelete="CASCADE"), index=True)
    started_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    actor: Mapped[str] = mapped_column(String(64))


class Build(Work, Base):
    """One attempt to build a commit. A succeeded one is a revision, under the same id."""

    __tablename__ = "builds"

    algorithm_id: Mapped[UUID] = mapped_column(ForeignKey("algorithms.id", ondelete="CASCADE"))
    commit: Mapped[str] = mapped_column(String(40))
    language: Mapped[Language] = mapped_column(values(Language))
    state: Mapped[BuildState] = mapped_column(values(BuildState), default=BuildState.QUEUED)
    source: Mapped[str | None] = mapped_column(String(64))
    """Digest of the source archive, once it is made."""
    artifact: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    log_length: Mapped[int] = mapped_column(default=0)
    """Characters of log that are kept."""
    log_received: Mapped[int] = mapped_column(default=0)
    """Characters that the worker that has the build sent so far."""
    log_full: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        Index("ix_builds_algorithm_id_number", "algorithm_id", "number"),
        Index("uq_builds_commit", "algorithm_id", "commit", unique=True, postgresql_where=text("state <> 'failed'")),
        Index("ix_builds_unfinished", "state", postgresql_where=text("state in ('queued', 'running')")),
    )


class BuildLogChunk(Base):
    __tablename__ = "build_log_chunks"

    build_id: Mapped[UUID] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Characters of the log before this."""
    text: Mapped[str] = mapped_column(Text)


class Release(Base):
    """A build that was published: it never changes again."""

    __tablename__ = "releases"

    build_id: Mapped[UUID] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"), primary_key=True)
    algorithm_id: Mapped[UUID] = mapped_column(ForeignKey("algorithms.id", ondelete="CASCADE"))
    major: Mapped[int]
    minor: Mapped[int]
    revision: Mapped[int]
    callability: Mapped[Callability] = mapped_column(values(Callability))
    release_notes: Mapped[str | None] = mapped_column(Text)
    sample_input: Mapped[str | None] = mapped_column(Text)
    sample_output: Mapped[str | None] = mapped_column(Text)
    insights_enabled: Mapped[bool] = mapped_column(default=False)
    published_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    published_by: Mapped[str] = mapped_column(String(64))

    __table_args__ = (UniqueConstraint("algorithm_id", "major", "minor", "revision"),)

    @property
    def number(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.revision

    @property
    def semantic_version(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"


class Secret(Base):
    """An environment variable of an algorithm's replicas, encrypted."""

    __tablename__ = "secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    algorithm_id: Mapped[UUID] = mapped_column(ForeignKey("algorithms.id", ondelete="CASCADE"))
    short_name: Mapped[str] = mapped_column(String(100))
    variable: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    modified_at: Mapped[datetime] = mapped_column(db.UtcDateTime)

    __table_args__ = (
        UniqueConstraint("algorithm_id", "short_name", name="uq_secrets_short_name"),
        UniqueConstraint("algorithm_id", "variable", name="uq_secrets_variable"),
    )


class Call(Base):
    """One call, as a gateway recorded it. No foreign keys: calls outlive algorithms."""

    __tablename__ = "calls"

    request_id: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, primary_key=True)
    account: Mapped[str] = mapped_column(String(64))
    algorithm_id: Mapped[UUID | None]
    revision_id: Mapped[UUID | None]
    reference: Mapped[str] = mapped_column(Text)
    duration_seconds: Mapped[float]
    status: Mapped[int]
    error_type: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    input_head: Mapped[str | None] = mapped_column(Text)
    parent: Mapped[str | None] = mapped_column(Text)
    gateway: Mapped[str] = mapped_column(Text)
    launch_id: Mapped[UUID | None]
    """The launch apart from the platform that reported it."""

    __table_args__ = (
        Index("ix_calls_at", "at"),
        Index("ix_calls_launch", "launch_id", "at", postgresql_where=text("launch_id is not null")),
        Index("ix_calls_errors", "algorithm_id", "at", postgresql_where=text("error is not null")),
        Index("ix_calls_account_errors", "account", "at", postgresql_where=text("error is not null")),
        Index("ix_calls_nested_errors", "at", postgresql_where=text("error is not null and parent is not null")),
    )
