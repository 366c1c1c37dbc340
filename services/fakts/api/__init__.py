"""Fakts' routes."""

from __future__ import annotations

from services.fakts.api import admin, admin_services, discovery, internal, joining, keys, organizations, users

ROUTERS = (
    discovery.router,
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
    admin_services.router,
    internal.router,
)
