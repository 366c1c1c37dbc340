"""Applications, and the versions that they can switch to."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from services.registry.models.base import Base, values


class Application(Base):
    """A name that callers use, behind which versions are switched. Who changes it, or its versions, locks its row
    first."""

    __tablename__ = "applications"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(30))
    description: Mapped[str] = mapped_column(Text)
    default_answer: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    latency_goal_ms: Mapped[int | None]
    current: Mapped[UUID | None]
    """The linked version that answers."""
    switching_to: Mapped[UUID | None]
    """The one that is to, once it is ready."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


Index(
    "uq_applications_name",
    func.lower(Application.name),
    unique=True,
    postgresql_where=Application.removed_at.is_(None),
)


Index(
    "ix_applications_switching_to", Application.switching_to, postgresql_where=Application.switching_to.is_not(None)
)


class LinkState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    """All its replicas were ready since it was started; it can become current at once if one of them still is."""
    STOPPED = "stopped"


class LinkedVersion(Base):
    """A version of an algorithm that an application can switch to. Deployers know its replicas as those of a launch
    with this id."""

    __tablename__ = "linked_versions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    application_id: Mapped[UUID] = mapped_column(ForeignKey("applications.id"))
    algorithm_id: Mapped[UUID] = mapped_column(index=True)
    revision_id: Mapped[UUID]
    owner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(30))
    commit: Mapped[str] = mapped_column(String(40))
    replicas: Mapped[int]
    """While it is not stopped."""
    state: Mapped[LinkState] = mapped_column(values(LinkState))
    order_number: Mapped[int] = mapped_column(default=0)
    """Rises with every order of its replicas."""
    deployment_id: Mapped[UUID]
    """What its newest order asked for."""
    linked_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    linked_by: Mapped[str] = mapped_column(String(64))
    unlinked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """The row stays for what still runs, and is taken up when the version is linked again."""

    __table_args__ = (
        UniqueConstraint("application_id", "algorithm_id", "commit"),
        Index(
            "ix_linked_versions_starting", "id", postgresql_where=text("state = 'starting' and unlinked_at is null")
        ),
    )

    @property
    def version(self) -> str:
        """`OWNER/NAME/HASH`."""
        return f"{self.owner}/{self.name}/{self.commit}"
