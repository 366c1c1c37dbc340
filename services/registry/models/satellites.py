"""Satellites, their launches and orders, and what runs apart from the platform."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.contracts.launches import OrderAction
from services.registry.models.base import Base, values


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
    action: Mapped[OrderAction] = mapped_column(values(OrderAction))
    satellite_version: Mapped[int]
    target: Mapped[dict[str, Any]] = mapped_column(JSONB)
    paused: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(default=0)
    """Rises whenever the order is paused or resumed: who knows an older word of it does not take it for news."""
    promoted_from: Mapped[UUID | None]
    """The launch whose version this one took over."""
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(db.UtcDateTime)

    __table_args__ = (UniqueConstraint("launch_id", "number"),)


class SatelliteRun(Base):
    """One run of a gateway that serves a launch apart from the platform: what it reported last.

    Who takes a report locks the row first; `sequence` is that of the newest report that was taken.
    """

    __tablename__ = "satellite_runs"

    launch_id: Mapped[UUID] = mapped_column(ForeignKey("launches.id"), primary_key=True)
    instance: Mapped[str] = mapped_column(String(64), primary_key=True)
    run: Mapped[str] = mapped_column(String(64), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    deployment_id: Mapped[UUID | None]
    satellite_version: Mapped[int] = mapped_column(default=0)
    version: Mapped[str] = mapped_column(String(64), default="")
    """Of Constellation there."""
    entries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    """Of `contracts/launches.py` EntryStatus."""
    dropped: Mapped[int] = mapped_column(BigInteger, default=0)
    """Records of calls that it lost, in sum."""
    reported_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    """When the newest report was closed, by the satellite's clock."""
    first_heard_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    heard_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)


class SatelliteUsage(Base):
    """What was called of one entry of a launch apart from the platform, within one hour, at all its gateways."""

    __tablename__ = "satellite_usage"

    launch_id: Mapped[UUID] = mapped_column(ForeignKey("launches.id"), primary_key=True)
    hour: Mapped[datetime] = mapped_column(db.UtcDateTime, primary_key=True)
    vanity_url: Mapped[str] = mapped_column(String(81), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
