"""Fakts' tables: accounts and their keys, who and what is part of the platform, and who asks to be."""

from __future__ import annotations

from services.fakts.models.base import Answered, AuditEntry, Base, FeedEntry, FeedVersion
from services.fakts.models.identity import (
    Account,
    ApiKey,
    BrowserSession,
    Invitation,
    Membership,
    Organization,
    OrganizationType,
    TrustedIssuer,
    UpstreamIdentity,
    User,
)
from services.fakts.models.oauth import AuthorizationCode, Client, Login, RefreshToken, SigningKey
from services.fakts.models.preflight import Approval, Instance, Mandate, RedeemToken, Rule

__all__ = [
    "Account",
    "Answered",
    "ApiKey",
    "Approval",
    "AuditEntry",
    "AuthorizationCode",
    "Base",
    "BrowserSession",
    "Client",
    "FeedEntry",
    "FeedVersion",
    "Instance",
    "Invitation",
    "Login",
    "Mandate",
    "Membership",
    "Organization",
    "OrganizationType",
    "RedeemToken",
    "RefreshToken",
    "Rule",
    "SigningKey",
    "TrustedIssuer",
    "UpstreamIdentity",
    "User",
]
