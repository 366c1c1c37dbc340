"""Nothing of fakts is open by omission."""

from __future__ import annotations

import re
from uuid import uuid4

from tests.service.fakts.running import RunningFakts
from tests.support.routes import GatedRoute, routes_of

OWN_CHECK = {"/lok/f/report/", "/o/userinfo/"}
"""Open at the gate, for apps are no principals; the route checks their token itself."""


def routes(fakts: RunningFakts) -> list[GatedRoute]:
    found = list(routes_of(fakts.app))
    assert len(found) > 40
    return found


async def test_nobody_is_let_in_without_a_credential_or_with_a_wrong_one(fakts: RunningFakts) -> None:
    wrong = ["Bearer nonsense", "sim" + "A" * 24 + "1", "Bearer a.b.c", "Basic eDp5", "Simple x"]
    for route in routes(fakts):
        if route.gates == ("public",) and route.path not in OWN_CHECK:  # tests/unit/test_gates.py lists them
            continue
        for headers in ({}, *({"authorization": value} for value in wrong)):
            answer = await fakts.http.request(route.method, filled(route.path), headers=headers, json={})
            assert answer.status_code == 401, (route, answer.text)


async def test_administrators_and_services_routes_are_closed_to_all_others(fakts: RunningFakts) -> None:
    await fakts.user("joe")
    key = await fakts.key("joe", "allow_algo", "allow_data", "allow_algo_management")
    _, service = await fakts.join("worker")
    credentials = {
        "user": {"authorization": key},
        "administrator's standard key": {"authorization": fakts.credentials["api_key"]},
        "admin key": fakts.admin,
        "service": service,
    }
    refused = {
        "admin_only": ("user", "administrator's standard key", "service"),
        "service_only": ("user", "administrator's standard key", "admin key"),
        "account_only": ("service",),
        "manager_only": ("service",),
    }
    seen = set()
    for route in routes(fakts):
        for name in refused.get(route.gates[0], ()):
            answer = await fakts.http.request(
                route.method, filled(route.path), headers=credentials[name], json=body_of(route)
            )
            assert answer.status_code == 403, (route, name, answer.text)
            seen.add((route.gates[0], name))
    assert seen == {(gate, name) for gate, names in refused.items() for name in names}


async def test_errors_are_in_the_envelope_of_their_family(fakts: RunningFakts) -> None:
    management = await fakts.http.get("/v1/users")
    assert management.status_code == 401
    assert set(management.json()["error"]) == {"id", "code", "message"}
    administration = await fakts.http.get("/admin/v1/users")
    assert administration.headers["content-type"] == "application/problem+json"
    assert administration.json()["status"] == 401


async def test_health_readiness_and_metrics_are_answered(fakts: RunningFakts) -> None:
    assert (await fakts.http.get("/healthz")).status_code == 200
    assert (await fakts.http.get("/readyz")).json() == {"status": "ready", "failing": {}}
    assert "constellation_loop_last_success_seconds" in (await fakts.http.get("/metrics")).text


def filled(path: str) -> str:
    """The path with ids that name nothing."""
    return re.sub(
        r"\{\w*(id|instance_id)(:path)?\}", str(uuid4()), re.sub(r"\{(name|user|service|instance)\}", "x", path)
    )


def body_of(route: GatedRoute) -> dict[str, object]:
    return {"service": "constellation.x", "version": "1"} if route.path.startswith("/lok/f/instances") else {}
