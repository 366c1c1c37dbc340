"""Accounts, memberships, keys, and people who are signed in with a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.contracts.identity import AccountKind
from services.fakts.models.base import Base


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


class Invitation(Base):
    """A link with which one user becomes a member of an organization."""

    __tablename__ = "invitations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(String(200), default="")
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    accepted_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    revoked_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


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


class BrowserSession(Base):
    """A person who is signed in to the pages with a browser."""

    __tablename__ = "browser_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the cookie."""
    account_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    provider: Mapped[str | None] = mapped_column(String(100))
    """The upstream provider that vouched for the person; null for a password."""
    address: Mapped[str] = mapped_column(String(255), default="")
    agent: Mapped[str] = mapped_column(String(255), default="")
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    seen_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)


class UpstreamIdentity(Base):
    """Whom an upstream provider means by a subject."""

    __tablename__ = "upstream_identities"

    issuer: Mapped[str] = mapped_column(String(255), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)


class TrustedIssuer(Base):
    """A provider whose own tokens the platform accepts."""

    __tablename__ = "trusted_issuers"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    issuer: Mapped[str] = mapped_column(String(255), unique=True)
    """Claim `iss` of its tokens, and the `issuer` of its users in `upstream_identities`."""
    audience: Mapped[str] = mapped_column(String(255))
    """Claim `aud` of the tokens that are meant for this platform."""
    jwks_uri: Mapped[str | None] = mapped_column(Text)
    """Where its keys are (RFC 7517); null for what its metadata says (OpenID Connect Discovery)."""
    username_claim: Mapped[str] = mapped_column(String(100))
    created_by: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
