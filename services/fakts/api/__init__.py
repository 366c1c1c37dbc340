"""Fakts' routes."""

from __future__ import annotations

from services.fakts.api import (
    admin,
    admin_services,
    discovery,
    internal,
    invitations,
    issuers,
    joining,
    keys,
    organizations,
    users,
)

ROUTERS = (
    discovery.router,
    joining.leases,
    joining.reports,
    users.administration,
    users.own,
    organizations.administration,
    organizations.insiders,
    organizations.owners,
    invitations.administration,
    invitations.members,
    keys.readers,
    keys.writers,
    keys.administration,
    admin.router,
    admin_services.router,
    issuers.router,
    internal.router,
)
