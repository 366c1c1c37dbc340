"""Fakts' routes."""

from __future__ import annotations

from services.fakts.api import (
    admin,
    admin_clients,
    admin_codes,
    admin_redeem_tokens,
    admin_rules,
    admin_services,
    app_authorization,
    discovery,
    internal,
    joining,
    keys,
    oauth,
    organizations,
    protocol_one,
    users,
)

ROUTERS = (
    discovery.router,
    app_authorization.router,
    protocol_one.router,
    oauth.router,
    joining.leases,
    joining.reports,
    users.administration,
    users.own,
    organizations.administration,
    organizations.insiders,
    organizations.owners,
    keys.readers,
    keys.writers,
    keys.importers,
    admin.router,
    admin_clients.router,
    admin_services.router,
    admin_codes.router,
    admin_rules.router,
    admin_redeem_tokens.router,
    internal.router,
)
