"""Every route of every service stands behind exactly one gate, and what is open is on this list."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    | {("GET", "/signin"), ("POST", "/signin"), ("POST", "/signout")}
    | {("GET", "/signin/password"), ("POST", "/signin/password")}
    | {("GET", "/signin/with/{provider}"), ("GET", "/signin/with/{provider}/callback")}
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


@pytest.mark.parametrize("name", services.NAMES)
def test_every_route_has_one_gate_and_only_the_listed_ones_are_open(name: str, tmp_path: Path) -> None:
    service = services.load(name)
    options = {"database_url": "postgresql://localhost/none"} if name == "fakts" else {}
    settings = service.settings.model_validate({"join_token": "x" * 32, "data_dir": tmp_path, **options})
    routes = list(routes_of(service.app(settings, None)))
    ungated = [(route.method, route.path, route.gates) for route in routes if len(route.gates) != 1]
    assert ungated == []
    assert {(route.method, route.path) for route in routes if route.gates == ("public",)} == PUBLIC[name]


def test_a_satellites_gateway_answers_calls_and_nothing_else(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(PlanMaker("text/tag", keys=()).plan().model_dump_json())
    service = services.load("gateway")
    settings = service.settings.model_validate({"satellite_plan": plan, "data_dir": tmp_path})
    found = {(route.method, route.path): route.gates for route in routes_of(service.app(settings, None))}
    assert set(found.values()) == {("public",)}
    calls = ("/v1/algo/{reference:path}", "/launches/{launch_id}/v1/algo/{reference:path}", "/{path:path}")
    assert found.keys() == HEALTH | {(method, path) for method in ALL for path in calls}
