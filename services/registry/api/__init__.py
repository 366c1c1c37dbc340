"""The registry's routes. Those whose first part is a UUID come before those of owner and name."""

from __future__ import annotations

from services.registry.api import (
    admin,
    algorithms,
    applications,
    builds,
    environments,
    errors,
    git,
    image_work,
    images,
    internal,
    launches,
    reports,
    satellites,
    secrets,
    versions,
)

ROUTERS = [
    builds.routes,
    versions.routes,
    versions.changes,
    versions.compilations,
    secrets.routes,
    secrets.providers,
    errors.routes,
    environments.routes,
    admin.routes,
    admin.administrators,
    satellites.routes,
    launches.routes,
    applications.routes,
    images.routes,
    reports.routes,
    reports.administrators,
    internal.routes,
    image_work.routes,
    git.routes,
    algorithms.routes,
    algorithms.changes,
]
