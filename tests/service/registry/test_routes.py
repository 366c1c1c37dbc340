"""Every route has a gate, and keeps it."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from libs.common.web import PUBLIC_PATHS
from services.registry.app import create_app
from services.registry.settings import RegistrySettings
from tests.service.registry.conftest import Platform
from tests.support.routes import GatedRoute, routes_of

ROUTES = list(routes_of(create_app(RegistrySettings())))


def concrete(route: GatedRoute) -> str:
    """The route's path with something in each place."""
    path = re.sub(r"\{[a-z_]+:uuid\}|\{build_id\}|\{revision_id\}", str(uuid4()), route.path)
    path = re.sub(r"\{\w+:int\}", "1", path)
    return re.sub(r"\{\w+(:path)?\}", "hello", path)


def test_every_route_has_one_gate() -> None:
    assert len(ROUTES) > 60
    assert [route for route in ROUTES if len(route.gates) != 1] == []


def test_what_is_public_is_listed() -> None:
    open_paths = {route.path for route in ROUTES if route.gates == ("public",)}
    git = {path for path in open_paths if path.startswith("/git/")}
    assert open_paths - git == PUBLIC_PATHS
    assert git, "git has an authentication of its own"


def test_families_of_routes_have_their_gates() -> None:
    for route in ROUTES:
        if route.path.startswith("/internal/"):
            assert route.gates == ("service_only",), route
        elif route.path.startswith(
            ("/admin/v1/calls", "/admin/v1/audit", "/admin/v1/satellites", "/admin/v1/launches", "/admin/v1/images")
        ):
            assert route.gates == ("admin_only",), route
        elif route.path.startswith("/admin/v1/"):
            assert route.gates == ("account_only",), route
        elif route.path.startswith("/v1/"):
            guarded = route.method != "GET" or "/secrets" in route.path
            assert route.gates == ("manager_only" if guarded else "account_only",), route


async def test_nobody_passes_without_a_good_credential(platform: Platform) -> None:
    for route in ROUTES:
        for authorization in (None, "simNOTAREALKEY00000000000001", "Bearer a.b.c"):
            headers = {"authorization": authorization} if authorization else {}
            answer = await platform.ask(route.method, concrete(route), None, headers=headers)
            assert (answer.status_code == 401) is (route.path not in PUBLIC_PATHS), (route, authorization)


async def test_services_and_people_keep_to_their_routes(platform: Platform) -> None:
    wrong = {
        "service_only": ["joe", "root"],
        "account_only": ["@worker"],
        "manager_only": ["@worker", "joe_calls"],
        "admin_only": ["@worker", "joe"],
        "public": [],
    }
    for route in ROUTES:
        for who in wrong[route.gates[0]]:
            answer = await platform.ask(route.method, concrete(route), who)
            assert answer.status_code == 403, (route, who)


async def test_only_workers_build(platform: Platform) -> None:
    for path in ("claim", "log", "result"):
        body = {"worker": "w", "lease_token": "x", "offset": 0, "text": "", "succeeded": False}
        answer = await platform.ask("POST", f"/internal/builds/{uuid4()}/{path}", "@gateway", json=body)
        assert answer.status_code == 403
    assert (await platform.ask("PUT", f"/internal/blobs/{'0' * 64}", "@gateway", content=b"")).status_code == 403


@pytest.mark.parametrize("who", ["joe", "ann", "root"])
async def test_languages_templates_and_source_code_managers(platform: Platform, who: str) -> None:
    edge = "/v1/algorithm-environments/edge"
    languages = await platform.ok("GET", f"{edge}/languages", who)
    assert [language["name"] for language in languages] == ["python3", "javascript", "pipe"]
    for language in languages:
        [environment] = (await platform.ok("GET", f"{edge}/languages/{language['name']}/environments", who))[
            "environments"
        ]
        specification = environment["environment_specification_id"]
        answer = await platform.ask("GET", f"{edge}/environment-specifications/{specification}/template", who)
        assert answer.content[:2] == b"\x1f\x8b"
    assert await platform.refused("GET", f"{edge}/languages/cobol/environments", who) == (404, 4001)
    assert await platform.refused("GET", f"{edge}/environment-specifications/x/template", who) == (404, 4001)
    assert [one["id"] for one in (await platform.ok("GET", "/v1/scms", who))["results"]] == ["internal"]
    assert (await platform.ok("GET", "/v1/scms/internal", who))["enabled"] is True
    assert await platform.refused("GET", "/v1/scms/github", who) == (404, 4009)
