"""The registry's routes. Those whose first part is a UUID come before those of owner and name."""

from __future__ import annotations

from services.registry.api import (
    admin,
    algorithms,
    builds,
    environments,
    errors,
    git,
    image_work,
    images,
    internal,
    launches,
    satellites,
    secrets,
    versions,
)

ROUTERS = [
    builds.routes,
    versions.routes,
    versions.changes,
    secrets.routes,
    secrets.providers,
    errors.routes,
    environments.routes,
    admin.routes,
    admin.administrators,
    satellites.routes,
    launches.routes,
    images.routes,
    internal.routes,
    image_work.routes,
    git.routes,
    algorithms.routes,
    algorithms.changes,
]
