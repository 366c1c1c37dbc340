"""Fakts' routes."""

from __future__ import annotations

from services.fakts.api import (
    admin,
    admin_clients,
    admin_services,
    discovery,
    internal,
    joining,
    keys,
    oauth,
    organizations,
    users,
)

ROUTERS = (
    discovery.router,
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
    internal.router,
)
