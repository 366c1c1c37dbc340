"""Which service answers which path of the one public address. Pure."""

from __future__ import annotations

import re

# Prefixes, the longest match first. A `*` stands for one segment of the path.
_TABLE = (
    ("/v1/users/*/algorithms", "registry"),
    ("/v1/users/*/errors", "registry"),
    ("/v1/organizations/*/errors", "registry"),
    ("/v1/organizations/*/utility-algorithms", "registry"),
    ("/v1/users", "fakts"),
    ("/v1/organizations", "fakts"),
    ("/v1/organization", "fakts"),
    ("/v1/admin/users", "fakts"),
    ("/v1/admin/invites", "fakts"),
    ("/v1/invites", "fakts"),
    ("/v1/algorithms", "registry"),
    ("/v1/algorithm-environments", "registry"),
    ("/v1/scms", "registry"),
    ("/v1/secret-provider", "registry"),
    ("/git", "registry"),
    ("/.well-known", "fakts"),
    ("/lok", "fakts"),
    ("/o", "fakts"),
    ("/configure", "fakts"),
    ("/signin", "fakts"),
    ("/signout", "fakts"),
    ("/apps", "fakts"),
    ("/admin/v1/users", "fakts"),
    ("/admin/v1/organizations", "fakts"),
    ("/admin/v1/keys", "fakts"),
    ("/admin/v1/issuers", "fakts"),
    ("/admin/v1/services", "fakts"),
    ("/admin/v1/mandates", "fakts"),
    ("/admin/v1/redeem-tokens", "fakts"),
    ("/admin/v1/codes", "fakts"),
    ("/admin/v1/rules", "fakts"),
    ("/admin/v1/apps", "fakts"),
    ("/admin/v1/clients", "fakts"),
    ("/admin/v1/signing-keys", "fakts"),
    ("/admin/v1/algorithms", "registry"),
    ("/admin/v1/builds", "registry"),
    ("/admin/v1/audit", "registry"),
    ("/admin/v1/calls", "registry"),
    ("/admin/v1/satellites", "registry"),
    ("/admin/v1/launches", "registry"),
    ("/admin/v1/images", "registry"),
    ("/admin/v1/deployments", "deployer"),
    ("/admin/v1/workers", "deployer"),
    ("/admin/v1/replicas", "deployer"),
)
_PATTERNS = tuple(
    (re.compile(prefix.replace(".", r"\.").replace("*", "[^/]+") + "(?:/.*)?", re.DOTALL), service)
    for prefix, service in sorted(_TABLE, key=lambda row: len(row[0].split("/")), reverse=True)
)


def service_for(path: str) -> str | None:
    """The service that answers a decoded path, or None when none does.

    A path with `.` or `..` segments is answered by none: what follows might read it differently.
    """
    if any(segment in (".", "..") for segment in path.split("/")):
        return None
    return next((service for pattern, service in _PATTERNS if pattern.fullmatch(path)), None)
