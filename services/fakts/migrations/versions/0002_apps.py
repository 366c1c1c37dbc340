"""Apps that people approve: approvals, logins, redeem tokens, rules, and sessions of the pages; invitations, and
trusted issuers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.db import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("strategy", sa.String(length=100), nullable=False),
        sa.Column("conditions", JSONB(), nullable=False),
        sa.Column("options", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rules"),
        sa.UniqueConstraint("name", name="uq_rules_name"),
        sa.UniqueConstraint("position", name="uq_rules_position"),
    )
    op.create_table(
        "browser_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("agent", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["users.id"], name="fk_browser_sessions_account_id_users"),
        sa.PrimaryKeyConstraint("digest", name="pk_browser_sessions"),
    )
    op.create_index("ix_browser_sessions_account_id", "browser_sessions", ["account_id"], unique=False)
    op.create_index("ix_browser_sessions_expires_at", "browser_sessions", ["expires_at"], unique=False)
    op.create_table(
        "redeem_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("identifiers", JSONB(), nullable=False),
        sa.Column("versions", JSONB(), nullable=False),
        sa.Column("scopes", JSONB(none_as_null=True), nullable=True),
        sa.Column("uses", sa.Integer(), nullable=True),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("created_by", sa.String(length=30), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["users.id"], name="fk_redeem_tokens_account_id_users"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_redeem_tokens_organization_id_organizations"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_redeem_tokens"),
        sa.UniqueConstraint("digest", name="uq_redeem_tokens_digest"),
    )
    op.create_index("ix_redeem_tokens_account_id", "redeem_tokens", ["account_id"], unique=False)
    op.create_table(
        "upstream_identities",
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["users.id"], name="fk_upstream_identities_account_id_users"),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_upstream_identities"),
    )
    op.create_index("ix_upstream_identities_account_id", "upstream_identities", ["account_id"], unique=False)
    op.create_table(
        "trusted_issuers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("audience", sa.String(length=255), nullable=False),
        sa.Column("jwks_uri", sa.Text(), nullable=True),
        sa.Column("username_claim", sa.String(length=100), nullable=False),
        sa.Column("created_by", sa.String(length=30), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trusted_issuers"),
        sa.UniqueConstraint("issuer", name="uq_trusted_issuers_issuer"),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("accepted_by", sa.Uuid(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_invitations_organization_id_organizations"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="fk_invitations_created_by_users"),
        sa.ForeignKeyConstraint(["accepted_by"], ["users.id"], name="fk_invitations_accepted_by_users"),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("digest", name="uq_invitations_digest"),
    )
    op.create_index("ix_invitations_expires_at", "invitations", ["expires_at"], unique=False)
    op.create_index("ix_invitations_organization_id", "invitations", ["organization_id"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("code_digest", sa.String(length=64), nullable=False),
        sa.Column("secret_digest", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("redirect", JSONB(none_as_null=True), nullable=True),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("needs", sa.String(length=16), nullable=False),
        sa.Column("organizations", JSONB(none_as_null=True), nullable=True),
        sa.Column("roles", JSONB(none_as_null=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("polled_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name="fk_approvals_client_id_clients", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name="fk_approvals_decided_by_users"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_approvals_organization_id_organizations"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.UniqueConstraint("code_digest", name="uq_approvals_code_digest"),
        sa.UniqueConstraint("secret_digest", name="uq_approvals_secret_digest"),
    )
    op.create_index("ix_approvals_client_id", "approvals", ["client_id"], unique=False)
    op.create_index("ix_approvals_decided_by", "approvals", ["decided_by"], unique=False)
    op.create_index("ix_approvals_expires_at", "approvals", ["expires_at"], unique=False)
    op.create_table(
        "logins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("nonce", sa.String(length=255), nullable=True),
        sa.Column("authenticated_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["users.id"], name="fk_logins_account_id_users"),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name="fk_logins_client_id_clients", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_logins_organization_id_organizations"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_logins"),
    )
    op.create_index("ix_logins_account_id", "logins", ["account_id"], unique=False)
    op.create_index("ix_logins_client_id", "logins", ["client_id"], unique=False)
    op.create_index("ix_logins_ended_at", "logins", ["ended_at"], unique=False)
    op.create_index("ix_logins_ends_at", "logins", ["ends_at"], unique=False)
    op.create_table(
        "authorization_codes",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("login_id", sa.Uuid(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.String(length=128), nullable=False),
        sa.Column("code_challenge_method", sa.String(length=8), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("spent_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["login_id"], ["logins.id"], name="fk_authorization_codes_login_id_logins", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_authorization_codes"),
    )
    op.create_index("ix_authorization_codes_expires_at", "authorization_codes", ["expires_at"], unique=False)
    op.create_index("ix_authorization_codes_login_id", "authorization_codes", ["login_id"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("login_id", sa.Uuid(), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("spent_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["login_id"], ["logins.id"], name="fk_refresh_tokens_login_id_logins", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_refresh_tokens"),
    )
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"], unique=False)
    op.create_index("ix_refresh_tokens_login_id", "refresh_tokens", ["login_id"], unique=False)
    op.add_column("clients", sa.Column("redeem_token_id", sa.Uuid(), nullable=True))
    op.add_column("clients", sa.Column("account_id", sa.Uuid(), nullable=True))
    op.add_column("clients", sa.Column("organization_id", sa.Uuid(), nullable=True))
    op.add_column("clients", sa.Column("kind", sa.String(length=32), nullable=False, server_default="development"))
    op.add_column("clients", sa.Column("declined", JSONB(), nullable=False, server_default="[]"))
    op.add_column("clients", sa.Column("redirect_uris", JSONB(), nullable=False, server_default="[]"))
    op.add_column("clients", sa.Column("client_credentials", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("clients", sa.Column("secret_digest", sa.String(length=64), nullable=True))
    op.add_column("clients", sa.Column("claim_digest", sa.String(length=64), nullable=True))
    op.add_column("clients", sa.Column("approved_at", UtcDateTime(), nullable=True))
    op.add_column("clients", sa.Column("ended_at", UtcDateTime(), nullable=True))
    op.alter_column("clients", "mandate_id", existing_type=sa.UUID(), nullable=True)
    op.alter_column("clients", "last_login_at", existing_type=UtcDateTime(), nullable=True)
    op.create_index("ix_clients_account_id", "clients", ["account_id"], unique=False)
    op.create_index("ix_clients_identifier", "clients", ["identifier"], unique=False)
    op.create_index("ix_clients_organization_id", "clients", ["organization_id"], unique=False)
    op.create_index("ix_clients_redeem_token_id", "clients", ["redeem_token_id"], unique=False)
    op.create_unique_constraint("uq_clients_claim_digest", "clients", ["claim_digest"])
    op.create_foreign_key("fk_clients_account_id_users", "clients", "users", ["account_id"], ["id"])
    op.create_foreign_key(
        "fk_clients_organization_id_organizations", "clients", "organizations", ["organization_id"], ["id"]
    )
    op.create_foreign_key(
        "fk_clients_redeem_token_id_redeem_tokens", "clients", "redeem_tokens", ["redeem_token_id"], ["id"]
    )
    for name in ("kind", "declined", "redirect_uris", "client_credentials"):
        op.alter_column("clients", name, server_default=None)
    op.execute("update clients set approved_at = created_at")


def downgrade() -> None:
    op.execute("delete from clients where mandate_id is null")
    op.drop_constraint("fk_clients_redeem_token_id_redeem_tokens", "clients", type_="foreignkey")
    op.drop_constraint("fk_clients_organization_id_organizations", "clients", type_="foreignkey")
    op.drop_constraint("fk_clients_account_id_users", "clients", type_="foreignkey")
    op.drop_constraint("uq_clients_claim_digest", "clients", type_="unique")
    op.drop_index("ix_clients_redeem_token_id", table_name="clients")
    op.drop_index("ix_clients_organization_id", table_name="clients")
    op.drop_index("ix_clients_identifier", table_name="clients")
    op.drop_index("ix_clients_account_id", table_name="clients")
    op.alter_column("clients", "last_login_at", existing_type=UtcDateTime(), nullable=False)
    op.alter_column("clients", "mandate_id", existing_type=sa.UUID(), nullable=False)
    op.drop_column("clients", "ended_at")
    op.drop_column("clients", "approved_at")
    op.drop_column("clients", "claim_digest")
    op.drop_column("clients", "secret_digest")
    op.drop_column("clients", "redirect_uris")
    op.drop_column("clients", "client_credentials")
    op.drop_column("clients", "declined")
    op.drop_column("clients", "kind")
    op.drop_column("clients", "organization_id")
    op.drop_column("clients", "account_id")
    op.drop_column("clients", "redeem_token_id")
    op.drop_index("ix_refresh_tokens_login_id", table_name="refresh_tokens")
    op.drop_index("ix_refresh_tokens_expires_at", table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index("ix_authorization_codes_login_id", table_name="authorization_codes")
    op.drop_index("ix_authorization_codes_expires_at", table_name="authorization_codes")
    op.drop_table("authorization_codes")
    op.drop_index("ix_logins_ends_at", table_name="logins")
    op.drop_index("ix_logins_ended_at", table_name="logins")
    op.drop_index("ix_logins_client_id", table_name="logins")
    op.drop_index("ix_logins_account_id", table_name="logins")
    op.drop_table("logins")
    op.drop_index("ix_approvals_expires_at", table_name="approvals")
    op.drop_index("ix_approvals_decided_by", table_name="approvals")
    op.drop_index("ix_approvals_client_id", table_name="approvals")
    op.drop_table("approvals")
    op.drop_index("ix_invitations_organization_id", table_name="invitations")
    op.drop_index("ix_invitations_expires_at", table_name="invitations")
    op.drop_table("invitations")
    op.drop_table("trusted_issuers")
    op.drop_index("ix_upstream_identities_account_id", table_name="upstream_identities")
    op.drop_table("upstream_identities")
    op.drop_index("ix_redeem_tokens_account_id", table_name="redeem_tokens")
    op.drop_table("redeem_tokens")
    op.drop_index("ix_browser_sessions_expires_at", table_name="browser_sessions")
    op.drop_index("ix_browser_sessions_account_id", table_name="browser_sessions")
    op.drop_table("browser_sessions")
    op.drop_table("rules")
