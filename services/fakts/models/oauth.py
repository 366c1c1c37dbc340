"""Signing keys, clients, and the tokens that they hold."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from services.fakts.models.base import Base


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


class Client(Base):
    """An app or service that may log in, or asks whether it may.

    It comes from a mandate, from a redeem token, from a person's or policy's approval, or an administrator registered
    it. Under a mandate it keeps its id as long as it names the same device.
    """

    __tablename__ = "clients"
    __table_args__ = (UniqueConstraint("mandate_id", "identifier", "device", name="uq_clients_login"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    mandate_id: Mapped[UUID | None] = mapped_column(ForeignKey("mandates.id"), index=True)
    redeem_token_id: Mapped[UUID | None] = mapped_column(ForeignKey("redeem_tokens.id"), index=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    """The user that the client acts for; null for one that acts for itself, or that many users sign in to."""
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"), index=True)
    """The organization that the user picked."""
    identifier: Mapped[str] = mapped_column(String(255), index=True)
    device: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(32), default="development")
    """`requested_client_kind` of the Fakts protocol; `relying_party` for one that an administrator registered."""
    scope: Mapped[str] = mapped_column(Text)
    """What it was given, words separated by spaces; for a relying party, the most that it may ask for."""
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)
    declined: Mapped[list[str]] = mapped_column(JSONB, default=list)
    """Keys of optional requirements that it was not given."""
    redirect_uris: Mapped[list[str]] = mapped_column(JSONB, default=list)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(JSONB, default=list)
    """Where people may be sent back to once they have signed out."""
    client_credentials: Mapped[bool] = mapped_column(default=False)
    """It may log in as itself, with its secret alone (RFC 6749, section 4.4)."""
    secret_digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of its secret; null for a public client (RFC 6749, section 2.1)."""
    claim_digest: Mapped[str | None] = mapped_column(String(64), unique=True)
    """SHA-256 of the token with which it claims its configuration (Fakts protocol, version 1)."""
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    approved_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """Null while nobody decided: it may not log in."""
    ended_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """When it was revoked. It never logs in again."""
    last_login_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What the client last said about the addresses it was given."""
    reported_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class Login(Base):
    """A client that is logged in: the chain of refresh tokens that began with one approval."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    """Claim `sid` of its access tokens."""
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"))
    scope: Mapped[str] = mapped_column(Text)
    nonce: Mapped[str | None] = mapped_column(String(255))
    """Of the authentication request (OpenID Connect Core, section 3.1.2.1)."""
    authenticated_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    used_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    ends_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime, index=True)
    """When it was revoked."""


class RefreshToken(Base):
    """One link of a login's chain (RFC 6749, section 6). A spent one is good for a short grace more."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    login_id: Mapped[UUID] = mapped_column(ForeignKey("logins.id", ondelete="CASCADE"), index=True)
    issued_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.now)
    expires_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    spent_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)


class AuthorizationCode(Base):
    """A code of the authorization endpoint (RFC 6749, section 4.1; RFC 7636)."""

    __tablename__ = "authorization_codes"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    login_id: Mapped[UUID] = mapped_column(ForeignKey("logins.id", ondelete="CASCADE"), index=True)
    redirect_uri: Mapped[str] = mapped_column(Text)
    """As the authorization request had it; empty where it left it out, and the client's only one was meant."""
    code_challenge: Mapped[str] = mapped_column(String(128))
    code_challenge_method: Mapped[str] = mapped_column(String(8))
    expires_at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)
    spent_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
    """A second use ends the login."""
