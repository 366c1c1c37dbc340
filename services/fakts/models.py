"""Fakts' tables: accounts and their keys, and who and what is part of the platform."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs.common import db
from libs.common.contracts.identity import AccountKind
from libs.common.feed import FeedEntryColumns, FeedVersionColumns


class Base(DeclarativeBase):
    metadata = db.metadata()


class FeedVersion(FeedVersionColumns, Base):
    __tablename__ = "feed_versions"


class FeedEntry(FeedEntryColumns, Base):
    __tablename__ = "feed_entries"


class Account(Base):
    """A user or an organization. The row stays when the account is deleted, so that its name is never reused."""

    __tablename__ = "accounts"
    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012 - read by the mapper

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(30), unique=True)
    kind: Mapped[AccountKind] = mapped_column(String(16))
    active: Mapped[bool] = mapped_column(default=True)
    session_limit: Mapped[int] = mapped_column(default=80)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)


Index("uq_accounts_name_lower", func.lower(Account.name), unique=True)


class User(Account):
    __tablename__ = "users"
    __mapper_args__ = {"polymorphic_identity": AccountKind.USER, "polymorphic_load": "inline"}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    staff: Mapped[bool] = mapped_column(default=False)
    """A cluster administrator."""
    email: Mapped[str | None] = mapped_column(String(254))
    fullname: Mapped[str | None] = mapped_column(String(200))
    company_name: Mapped[str | None] = mapped_column(String(200))
    company_role: Mapped[str | None] = mapped_column(String(200))
    password_hash: Mapped[str | None] = mapped_column(Text)
    """Argon2id, or null: cannot sign in with a password."""


Index("uq_users_email_lower", func.lower(User.email), unique=True)


class OrganizationType(Base):
    __tablename__ = "organization_types"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(30), unique=True)


class Organization(Account):
    __tablename__ = "organizations"
    __mapper_args__ = {"polymorphic_identity": AccountKind.ORGANIZATION, "polymorphic_load": "inline"}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    type_id: Mapped[UUID] = mapped_column(ForeignKey("organization_types.id"), index=True)
    label: Mapped[str] = mapped_column(String(200))
    contact_name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(254))
    url: Mapped[str | None] = mapped_column(Text)
    external_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    external_admin_group: Mapped[str | None] = mapped_column(String(255))
    external_member_group: Mapped[str | None] = mapped_column(String(255))


class Membership(Base):
    __tablename__ = "memberships"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(16))
    """`owner`, `member` or `executor`; `invited` may do nothing yet."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)


class ApiKey(Base):
    """An API key. Only its hash is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    mask: Mapped[str] = mapped_column(String(28))
    label: Mapped[str] = mapped_column(String(100))
    admin: Mapped[bool] = mapped_column(default=False)
    permissions: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """When it was revoked, or found expired. It is in no answer and no feed since."""


class SigningKey(Base):
    """A key that access tokens are signed with."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(36), primary_key=True)
    public: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """RFC 7517, without private members."""
    private: Mapped[bytes] = mapped_column(LargeBinary)
    """PKCS #8, sealed with the master key."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    signs_from: Mapped[datetime] = mapped_column(db.UtcDateTime)


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


class Client(Base):
    """An app or service that logged in. It keeps its id as long as it names the same device."""

    __tablename__ = "clients"
    __table_args__ = (UniqueConstraint("mandate_id", "identifier", "device", name="uq_clients_login"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    mandate_id: Mapped[UUID] = mapped_column(ForeignKey("mandates.id"), index=True)
    identifier: Mapped[str] = mapped_column(String(255))
    device: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    scope: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    last_login_at: Mapped[datetime] = mapped_column(db.UtcDateTime)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What the client last said about the addresses it was given."""
    reported_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


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


class AuditEntry(Base):
    """An administrative act that is still to be announced."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    message: Mapped[dict[str, Any]] = mapped_column(JSONB)
