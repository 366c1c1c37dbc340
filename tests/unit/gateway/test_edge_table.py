"""Whose path it is."""

from __future__ import annotations

import pytest

from services.gateway.edge_table import service_for


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/users", "fakts"),
        ("/v1/users/joe", "fakts"),
        ("/v1/users/joe/keys", "fakts"),
        ("/v1/users/joe/algorithms", "registry"),
        ("/v1/users/joe/algorithms/", "registry"),
        ("/v1/users/joe/errors", "registry"),
        ("/v1/users/algorithms", "fakts"),
        ("/v1/organizations", "fakts"),
        ("/v1/organizations/acme/members/joe", "fakts"),
        ("/v1/organizations/acme/errors", "registry"),
        ("/v1/organizations/acme/utility-algorithms", "registry"),
        ("/v1/organization/types", "fakts"),
        ("/v1/admin/users/joe/keys", "fakts"),
        ("/v1/admin/invites", "fakts"),
        ("/v1/invites/TOKEN/accept", "fakts"),
        ("/admin/v1/issuers/1/users", "fakts"),
        ("/v1/algorithms/joe/echo/versions", "registry"),
        ("/admin/v1/applications/digits/versions", "registry"),
        ("/admin/v1/apps", "fakts"),
        ("/v1/algorithm-environments/edge/languages", "registry"),
        ("/v1/scms", "registry"),
        ("/v1/secret-provider", "registry"),
        ("/git/joe/echo.git/info/refs", "registry"),
        ("/.well-known/fakts", "fakts"),
        ("/lok/f/start/", "fakts"),
        ("/o/token/", "fakts"),
        ("/configure/ABCD", "fakts"),
        ("/signin/with/university/callback", "fakts"),
        ("/signout", "fakts"),
        ("/apps", "fakts"),
        ("/admin/v1/users", "fakts"),
        ("/admin/v1/codes/ABCD/approve", "fakts"),
        ("/admin/v1/services", "fakts"),
        ("/admin/v1/signing-keys", "fakts"),
        ("/admin/v1/satellites/1/versions/2", "registry"),
        ("/admin/v1/launches/1/deploy", "registry"),
        ("/admin/v1/audit", "registry"),
        ("/admin/v1/deployments/1", "deployer"),
        ("/admin/v1/workers/1/drain", "deployer"),
        ("/admin/v1/replicas", "deployer"),
    ],
)
def test_a_path_belongs_to_the_longest_prefix(path: str, service: str) -> None:
    assert service_for(path) == service


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/internal/feeds/identity",
        "/internal",
        "/v1",
        "/v1/usersx",
        "/v1/data/x",
        "/gitx/joe/echo.git",
        "/xwell-known/fakts",
        "/admin/v1",
        "/admin/v1/unknown",
        "/v1/users/../../internal/feeds/identity",
        "/git/../internal/feeds/catalog",
        "/git/./x",
        "/metrics",
    ],
)
def test_all_other_paths_belong_to_nobody(path: str) -> None:
    assert service_for(path) is None
