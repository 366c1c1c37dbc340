"""The registry's tables: what exists, how it was built, and what happened to it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Enum,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Callability, Language
from libs.common.contracts.images import WorkState
from libs.common.contracts.launches import OrderAction
from libs.common.feed import FeedEntryColumns, FeedVersionColumns
from libs.common.idempotency import AnsweredColumns
from libs.common.lease import Leased


class Base(DeclarativeBase):
    metadata = db.metadata()


def _values(kind: type[StrEnum]) -> Enum:
    """The values of an enumeration as text. The database does not check them: a newer release may add some."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class Algorithm(Base):
    """One algorithm. Whoever changes anything that belongs to it locks its row first."""

    __tablename__ = "algorithms"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(30))
    language: Mapped[Language] = mapped_column(_values(Language))
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


class Build(Leased, Base):
    """One attempt to build a commit. A succeeded one is a revision, under the same id."""

    __tablename__ = "builds"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    """Rises with every build: the order of builds."""
    algorithm_id: Mapped[UUID] = mapped_column(ForeignKey("algorithms.id", ondelete="CASCADE"))
    commit: Mapped[str] = mapped_column(String(40))
    language: Mapped[Language] = mapped_column(_values(Language))
    state: Mapped[BuildState] = mapped_column(_values(BuildState), default=BuildState.QUEUED)
    source: Mapped[str | None] = mapped_column(String(64))
    """Digest of the source archive, once it is made."""
    artifact: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(255))
    hints: Mapped[int] = mapped_column(default=0)
    """How often the job was sent for this attempt."""
    next_hint_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    log_length: Mapped[int] = mapped_column(default=0)
    """Characters of log that are kept."""
    log_received: Mapped[int] = mapped_column(default=0)
    """Characters that the worker that has the build sent so far."""
    log_full: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)

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
    callability: Mapped[Callability] = mapped_column(_values(Callability))
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

    __table_args__ = (
        Index("ix_calls_at", "at"),
        Index("ix_calls_errors", "algorithm_id", "at", postgresql_where=text("error is not null")),
        Index("ix_calls_account_errors", "account", "at", postgresql_where=text("error is not null")),
        Index("ix_calls_nested_errors", "at", postgresql_where=text("error is not null and parent is not null")),
    )


class AuditEntry(Base):
    """One administrative act."""

    __tablename__ = "audit"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """That of the message, so that one which is delivered twice is kept once."""
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    service: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str | None] = mapped_column(Text)


class Answered(AnsweredColumns, Base):
    __tablename__ = "answered"


class Satellite(Base):
    """A group of algorithms that is launched together. Who changes it, or launches of it, locks its row first."""

    __tablename__ = "satellites"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int] = mapped_column(default=1)
    """The newest one."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """The row stays for what still runs."""


Index("uq_satellites_name", func.lower(Satellite.name), unique=True, postgresql_where=Satellite.removed_at.is_(None))


class AcceptedKeys(Base):
    """A set of API keys, kept once for all satellite versions that accept just these."""

    __tablename__ = "accepted_keys"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    keys: Mapped[dict[str, str]] = mapped_column(JSONB)
    """SHA-256 of each key, with the name of the account it acts for."""


class SatelliteVersion(Base):
    """What a satellite is from one edit to the next. Never changes."""

    __tablename__ = "satellite_versions"

    satellite_id: Mapped[UUID] = mapped_column(ForeignKey("satellites.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    """Of `contracts/launches.py` LaunchEntry."""
    keys: Mapped[str] = mapped_column(ForeignKey("accepted_keys.digest"))
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ix_satellite_versions_entries", "entries", postgresql_using="gin"),)


class Launch(Base):
    """A launch instance: which version of a satellite should run where. Changing it changes nothing that runs."""

    __tablename__ = "launches"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    satellite_id: Mapped[UUID] = mapped_column(ForeignKey("satellites.id"))
    satellite_version: Mapped[int]
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(Text)
    target: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


Index(
    "uq_launches_name",
    Launch.satellite_id,
    func.lower(Launch.name),
    unique=True,
    postgresql_where=Launch.removed_at.is_(None),
)


class Order(Base):
    """That a launch be deployed or stopped: what somebody asked, when. The newest one of a launch counts."""

    __tablename__ = "orders"

    deployment_id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    launch_id: Mapped[UUID] = mapped_column(ForeignKey("launches.id"))
    number: Mapped[int]
    action: Mapped[OrderAction] = mapped_column(_values(OrderAction))
    satellite_version: Mapped[int]
    target: Mapped[dict[str, Any]] = mapped_column(JSONB)
    paused: Mapped[bool] = mapped_column(default=False)
    promoted_from: Mapped[UUID | None]
    """The launch whose version this one took over."""
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(db.UtcDateTime)

    __table_args__ = (UniqueConstraint("launch_id", "number"),)


class Work(Leased):
    """Columns of a row that workers act on (see work.py)."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    platform: Mapped[str] = mapped_column(String(64))
    """Of the workers that can do it, such as `linux/amd64`."""
    state: Mapped[WorkState] = mapped_column(_values(WorkState), default=WorkState.WANTED)
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    """Workers that took it since it was last asked for."""
    worker: Mapped[str | None] = mapped_column(String(255))
    hints: Mapped[int] = mapped_column(default=0)
    """How often the job was sent for this attempt."""
    next_hint_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    started_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class Image(Work, Base):
    """The container image of a revision, or of a release of Constellation itself, for its platform."""

    __tablename__ = "images"

    revision_id: Mapped[UUID | None] = mapped_column(ForeignKey("builds.id", ondelete="CASCADE"))
    release: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(71))
    """Of the newest manifest that was made."""
    base: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Of all its blobs, in bytes."""

    __table_args__ = (
        UniqueConstraint("revision_id", "platform", name="uq_images_revision"),
        UniqueConstraint("release", "platform", name="uq_images_release"),
        CheckConstraint("num_nonnulls(revision_id, release) = 1", name="subject"),
    )


class ImageBlob(Base):
    """A blob of an image, of one that was made before too."""

    __tablename__ = "image_blobs"

    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True, index=True)
    media_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)


class ImagePush(Work, Base):
    """That an image be in another registry."""

    __tablename__ = "image_pushes"

    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(String(512))
    """`HOST/PATH:TAG`."""
    digest: Mapped[str] = mapped_column(String(71))
    """Of the manifest to push."""

    __table_args__ = (UniqueConstraint("image_id", "reference", "digest", name="uq_image_pushes_reference"),)
