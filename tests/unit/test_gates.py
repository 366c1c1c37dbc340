"""Every route of every service stands behind exactly one gate, and what is open is on this list."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from constellation import services
from tests.support.routes import routes_of
from tests.support.satellites import PlanMaker

HEALTH = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
DATA = ("/v1/data", "/v1/data/{path:path}", "/v1/connector/{connector}", "/v1/connector/{connector}/{path:path}")
ALL = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
PUBLIC = {
    "fakts": HEALTH
    | {
        ("GET", "/.well-known/fakts"),
        ("GET", "/.well-known/openid-configuration"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("GET", "/o/jwks/"),
        ("POST", "/o/token"),
        ("POST", "/o/token/"),
        ("POST", "/o/revoke/"),
        ("POST", "/o/introspect/"),
        ("GET", "/o/authorize"),
        ("GET", "/o/authorize/"),
        ("GET", "/o/userinfo/"),
        ("POST", "/o/userinfo/"),
        ("POST", "/o/app-authorization"),
        ("POST", "/o/app-authorization/"),
    }
    | {
        ("POST", f"/lok/f/{name}{slash}")
        for name in ("start", "challenge", "claim", "redeem", "retrieve", "report")
        for slash in ("", "/")
    }
    | {("GET", path) for path in ("/configure", "/configure/", "/configure/{code}", "/configure/static/{name}")}
    | {("POST", "/configure"), ("POST", "/configure/{code}")}
    | {("GET", "/signin"), ("POST", "/signin"), ("GET", "/signout"), ("POST", "/signout")}
    | {("GET", "/signin/password"), ("POST", "/signin/password")}
    | {("GET", "/signin/with/{provider}"), ("GET", "/signin/with/{provider}/callback")}
    | {(method, f"/o/logout{slash}") for method in ("GET", "POST") for slash in ("", "/")}
    | {("POST", "/o/logout/confirm")}
    | {("GET", "/apps"), ("POST", "/apps/{client_id}/revoke")}
    | {("POST", "/apps/browsers/end"), ("POST", "/apps/browsers/end-others")},
    "registry": HEALTH
    | {
        ("GET", "/git/{owner}/{repository}/info/refs"),
        ("POST", "/git/{owner}/{repository}/git-upload-pack"),
        ("POST", "/git/{owner}/{repository}/git-receive-pack"),
        ("GET", "/git/{rest:path}"),
    },
    "deployer": HEALTH,
    "worker": HEALTH,
    "gateway": HEALTH
    | {("GET", "/"), ("GET", "/v1/hostedData")}
    | {
        (method, f"/console{path}")
        for method in ("GET", "HEAD")
        for path in ("", "/static/{version}/{name}", "/{path:path}")
    }
    | {(method, path) for method in ALL if method != "OPTIONS" for path in DATA}
    | {
        (method, path)
        for method in ALL
        for path in ("/v1/algo/{reference:path}", "/launches/{launch_id}/v1/algo/{reference:path}", "/{path:path}")
    },
}
"""Some of these ask for a credential in their own way: the report (apps are no principals), pages (a cookie, and the
sign-in page where there is none), git (a password, so that git asks for it), calls and data (their error envelope),
and what the edge passes on meets its service's gate."""


CALLS_AND_DATA = ("/v1/algo/", "/v1/data", "/v1/connector/")
WITHOUT_KEY = {
    ("post", "/v1/algorithms/{algorithm_id}/compile"),
    ("post", "/v1/algorithms/{owner}/{name}/compile"),
    ("post", "/admin/v1/launches/{launch_id}/reports"),
}
"""Writes that take no Idempotency-Key: who asks for a build again waits for the same one, and reports of satellites
are numbered."""


@pytest.fixture
def app(name: str, tmp_path: Path) -> FastAPI:
    service = services.load(name)
    options = {"database_url": "postgresql://localhost/none"} if name == "fakts" else {}
    settings = service.settings.model_validate({"join_token": "x" * 32, "data_dir": tmp_path, **options})
    return service.app(settings, None)


@pytest.mark.parametrize("name", services.NAMES)
def test_every_route_has_one_gate_and_only_the_listed_ones_are_open(name: str, app: FastAPI) -> None:
    routes = list(routes_of(app))
    ungated = [(route.method, route.path, route.gates) for route in routes if len(route.gates) != 1]
    assert ungated == []
    assert {(route.method, route.path) for route in routes if route.gates == ("public",)} == PUBLIC[name]


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")  # of routes for several methods
@pytest.mark.parametrize("name", services.NAMES)
def test_every_write_of_people_takes_an_idempotency_key(name: str, app: FastAPI) -> None:
    """All below /admin/v1, and below /v1 what is neither a call nor data."""
    without = set()
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            elsewhere = not path.startswith(("/admin/v1/", "/v1/")) or path.startswith(CALLS_AND_DATA)
            if elsewhere or method not in ("post", "put", "patch"):
                continue
            headers = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"}
            if "idempotency-key" not in headers:
                without.add((method, path))
    assert without == (WITHOUT_KEY if name == "registry" else set())


def test_a_satellites_gateway_answers_calls_and_nothing_else(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(PlanMaker("text/tag", keys=()).plan().model_dump_json())
    service = services.load("gateway")
    settings = service.settings.model_validate({"satellite_plan": plan, "data_dir": tmp_path})
    found = {(route.method, route.path): route.gates for route in routes_of(service.app(settings, None))}
    assert set(found.values()) == {("public",)}
    calls = ("/v1/algo/{reference:path}", "/launches/{launch_id}/v1/algo/{reference:path}", "/{path:path}")
    assert found.keys() == HEALTH | {(method, path) for method in ALL for path in calls}
