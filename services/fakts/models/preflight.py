"""How apps and services are let in, and where services can be reached."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from services.fakts.models.base import Base


class Mandate(Base):
    """A key with which apps or services of certain names may log in without a person."""

    __tablename__ = "mandates"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    """`service` or `app`."""
    identifiers: Mapped[list[str]] = mapped_column(JSONB)
    """Patterns of manifest identifiers, with `*` for any text."""
    max_clients: Mapped[int | None]
    """How many different clients may log in with it; null for any number."""
    note: Mapped[str] = mapped_column(String(200), default="")
    platform: Mapped[bool] = mapped_column(default=False)
    """The join token of the settings; there is one."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    created_by: Mapped[str] = mapped_column(String(30))
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class RedeemToken(Base):
    """A token with which an app that nobody watches is approved once, or a number of times."""

    __tablename__ = "redeem_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    """Whom its clients act for."""
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"))
    identifiers: Mapped[list[str]] = mapped_column(JSONB)
    """Patterns of manifest identifiers, with `*` for any text."""
    versions: Mapped[list[str]] = mapped_column(JSONB)
    scopes: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    """The most that its clients are given; null for whatever they ask."""
    uses: Mapped[int | None]
    """How many different clients it lets in; null for any number."""
    note: Mapped[str] = mapped_column(String(200), default="")
    created_by: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class Rule(Base):
    """One entry of the ordered list that decides what a preflight needs."""

    __tablename__ = "rules"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    position: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    strategy: Mapped[str] = mapped_column(String(100))
    """Name of an entry point of the group `constellation.fakts.strategies`."""
    conditions: Mapped[dict[str, list[str]]] = mapped_column(JSONB)
    """Which preflights it is about."""
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Approval(Base):
    """An app that asks to be let in, and what was decided: both versions of the Fakts protocol, and OAuth's
    authorization endpoint."""

    __tablename__ = "approvals"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    via: Mapped[str] = mapped_column(String(16))
    """`device` (protocol 2, RFC 8628), `challenge` (protocol 1) or `redirect` (RFC 6749, section 4.1)."""
    code_digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the code that a person sees."""
    secret_digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of what the app polls with: the device code; in protocol 1 the code that the person sees."""
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"), index=True)
    scope: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(String(255), default="")
    """Where the app asked from, as far as the edge knows."""
    redirect: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """For `redirect`: `redirect_uri`, `redirect_uri_implied` where the request left it out, `state`, `nonce`,
    `code_challenge`, `code_challenge_method`."""
    rule: Mapped[str] = mapped_column(String(100), default="")
    """Name of the rule that decided who may approve it."""
    needs: Mapped[str] = mapped_column(String(16))
    """Who may approve it: `user` or `staff`; `nobody` where a strategy decided at once."""
    organizations: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    """Names of the organizations one of which the person must pick; null for any or none."""
    roles: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    """Roles one of which the person must hold in the organization; null for any."""
    state: Mapped[str] = mapped_column(String(16), default="pending")
    """`pending`, `approved`, `denied` or `spent`. An undecided one past `expires_at` has expired."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it was denied, in words for the app."""
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    """The person who decided, or whom a rule named: the client acts for them."""
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"))
    """The organization that was picked."""
    decided_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    polled_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class Instance(Base):
    """Where a service can be reached: the platform's own ones have leases, the others an administrator offers."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("service", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    """Rises with every instance: the order in answers."""
    service: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str | None] = mapped_column(String(255))
    aliases: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    challenge_key: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    external: Mapped[bool] = mapped_column(default=False)
    offered_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    lease_until: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """Null for an external one: it is offered until it is withdrawn."""
