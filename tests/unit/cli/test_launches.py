"""Satellites and launches on the command line."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.platform import Platform, Run

ENTRY = {"algorithm": f"joe/echo/{'a' * 40}", "vanity_url": "text/echo", "replicas": 2}
SATELLITE: dict[str, Any] = {"id": "s1", "name": "edge", "version": 1, "algorithms": [ENTRY], "running": []}
LAUNCH: dict[str, Any] = {
    "id": "l1",
    "satellite": "edge",
    "satellite_id": "s1",
    "satellite_version": 1,
    "name": "dev",
    "description": "",
    "target": {"kind": "workers"},
    "desired": None,
    "running": None,
    "address": "/launches/l1/v1/algo/",
}


def deployment(state: str, ready: int, reason: str | None = None) -> dict[str, Any]:
    entry = {"vanity_url": "text/echo", "desired": 2, "ready": ready, "reason": None}
    return {
        "id": "d1",
        "state": state,
        "reason": reason,
        "satellite_version": 1,
        "serving_version": 1,
        "entries": [entry],
    }


def test_a_satellite_is_made_of_algorithms_with_vanity_urls(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/satellites", SATELLITE, 201)
    done = run("satellite", "create", "edge", "-a", f"joe/echo/{'a' * 40}=text/echo:2")
    assert done.exit_code == 0, done.stderr
    assert platform.body == {"name": "edge", "algorithms": [ENTRY]}
    assert "text/echo = joe/echo/aaaa" in done.stdout
    for bad in ("joe/echo", "joe/echo=", "a=b/c:x"):
        done = run("satellite", "create", "edge", "-a", bad)
        assert (done.exit_code, "is not OWNER/NAME/HASH=VANITY" in done.stderr) == (1, True)


def test_editing_keeps_what_is_not_named_and_says_what_runs_on(run: Run, platform: Platform) -> None:
    running = {"name": "prod", "launch_id": "l9", "satellite_version": 1}
    platform.on("GET /admin/v1/satellites/s1", SATELLITE)
    platform.on("PUT /admin/v1/satellites/s1", {**SATELLITE, "version": 2, "running": [running]})
    other = f"joe/other/{'b' * 40}"
    done = run("satellite", "edit", "s1", "-a", f"{other}=text/other")
    assert "prod (l9): version 1" in done.stdout
    assert platform.body == {"algorithms": [ENTRY, {"algorithm": other, "vanity_url": "text/other", "replicas": 1}]}
    assert platform.requests[-1].headers["if-match"] == '"1"', "it was made on the version that was read"
    assert run("satellite", "edit", "s1").exit_code == 1
    done = run("satellite", "edit", "s1", "--remove", "no/such")
    assert "the satellite has no 'no/such'" in done.stderr
    platform.on("POST /admin/v1/satellites/s1/versions", {**SATELLITE, "version": 3}, 201)
    assert "3" in run("satellite", "edit", "s1", "--renew-keys").stdout
    run("satellite", "edit", "s1", "--name", "rim")
    assert (platform.body, "if-match" in platform.requests[-1].headers) == ({"name": "rim"}, False)


def test_an_edit_of_a_version_that_is_not_the_newest_is_told_in_words(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/satellites/s1", SATELLITE)
    platform.on("PUT /admin/v1/satellites/s1", {"title": "Precondition failed", "detail": "it is at version 2"}, 412)
    done = run("satellite", "edit", "s1", "--remove", "text/echo")
    assert (done.exit_code, done.stderr) == (1, "constellation: it is at version 2\n")


def test_a_launch_is_made_with_its_target(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/satellites/s1/launches", LAUNCH, 201)
    done = run(
        "launch", "create", "s1", "dev", "--label", "region=eu", "--set", "deadline_seconds=60", "--version", "1"
    )
    assert done.exit_code == 0, done.stderr
    target = {"kind": "workers", "labels": {"region": "eu"}, "deadline_seconds": 60}
    assert platform.body == {"name": "dev", "satellite_version": 1, "target": target}
    assert "http://platform.example/launches/l1/v1/algo/" in done.stdout
    assert "is not KEY=VALUE" in run("launch", "create", "s1", "dev", "--label", "region").stderr
    assert run("launch", "edit", "l1").exit_code == 1


def test_deploying_waits_and_tells_how_it_goes(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/launches/l1/deploy", {"id": "d1", "state": "deploying"}, 202)
    platform.on("GET /admin/v1/deployments/d1", deployment("deployed", 2))
    done = run("launch", "deploy", "l1")
    assert done.exit_code == 0, done.stderr
    assert "deployed: text/echo 2/2" in done.stderr
    assert json.loads(run("launch", "deploy", "l1", "--json").stdout)["state"] == "deployed"
    platform.on("GET /admin/v1/deployments/d1", deployment("rolled_back", 2, "load() failed"))
    done = run("launch", "deploy", "l1", "--version", "2")
    assert (done.exit_code, "load() failed" in done.stdout) == (1, True)
    done = run("launch", "deploy", "l1", "--no-wait")
    assert (done.exit_code, "deploying" in done.stdout) == (0, True)


def test_removing_says_what_goes_on(run: Run, platform: Platform) -> None:
    platform.on("DELETE /admin/v1/launches/l1", {"removed": "l1", "running": {"serving_version": 4}})
    assert "version 4; end it with 'launch stop l1'" in run("launch", "rm", "l1").stdout


def test_what_happened_to_a_launch(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/launches/l1", LAUNCH)
    assert "never deployed" in run("launch", "logs", "l1").stderr
    platform.on("GET /admin/v1/launches/l1", {**LAUNCH, "desired": {"deployment_id": "d1"}})
    event = {"at": "now", "kind": "ready", "worker_id": "w", "replica_id": "r", "message": "takes calls"}
    platform.on("GET /admin/v1/deployments/d1/events", {"items": [event], "cursor": None})
    assert "takes calls" in run("launch", "logs", "l1").stdout


GATEWAY: dict[str, Any] = {
    "instance": "0123456789",
    "run": "17-abcd",
    "satellite_version": 1,
    "up_to_date": True,
    "desired": 2,
    "ready": 2,
    "stale": False,
    "last_heard": "now",
    "entries": [{"vanity_url": "text/echo", "reason": None}],
}


def test_what_satellites_report_is_shown(run: Run, platform: Platform) -> None:
    late = {**GATEWAY, "instance": "second", "up_to_date": False, "stale": True, "ready": 0}
    late["entries"] = [{"vanity_url": "text/echo", "reason": "no address"}]
    platform.on("GET /admin/v1/launches/l1", {**LAUNCH, "satellites": [GATEWAY, late]})
    used = {"vanity_url": "text/echo", "calls": 7, "errors": 2, "seconds": 1.25}
    platform.on("GET /admin/v1/launches/l1/usage", {"entries": [used]})
    shown = run("launch", "show", "l1")
    assert shown.exit_code == 0, shown.stderr
    said = {" ".join(line.split()) for line in shown.stdout.splitlines()}
    assert "gateway 01234567 abcd version 1, 2 of 2 ready, heard of now" in said
    other = "silent, version 1 (another one should run), 0 of 2 ready, heard of now (text/echo: no address)"
    assert f"gateway second abcd {other}" in said
    assert "calls of text/echo 7 in 7 days, 2 of them failed, 1.2 s" in said
    assert json.loads(run("launch", "show", "l1", "--json").stdout)["usage"]["entries"] == [used]


def test_calls_that_failed_elsewhere_are_listed(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/launches/l1", {**LAUNCH, "target": {"kind": "bundle"}})
    call = {
        "at": "now",
        "gateway": "g",
        "reference": "text/echo",
        "account": "joe",
        "status": 200,
        "error": "no good",
    }
    platform.on("GET /admin/v1/calls", {"items": [call], "cursor": None})
    assert "no good" in run("launch", "logs", "l1").stdout
    assert platform.requests[-1].url.params["launch_id"] == "l1"
    platform.on("GET /admin/v1/launches/l1", LAUNCH)
    assert "no good" in run("launch", "logs", "l1", "--errors").stdout


def test_what_a_replica_printed(run: Run, platform: Platform) -> None:
    part = {"replica_id": "r", "offset": 0, "next_offset": 6, "text": "hello\n", "ended": True}
    platform.on("GET /admin/v1/replicas/r/log", part)
    assert run("launch", "logs", "l1", "--replica", "r").stdout == "hello\n"
    assert json.loads(run("launch", "logs", "l1", "--replica", "r", "--json").stdout) == part
    platform.on("GET /admin/v1/replicas/r/log", {**part, "ended": False, "text": "", "next_offset": 0})
    assert run("launch", "logs", "l1", "--replica", "r").stdout == "", "what runs is not waited for"


def test_what_the_pods_of_a_launch_in_a_cluster_printed(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/launches/l1", {**LAUNCH, "desired": {"deployment_id": "d1"}})
    platform.on("GET /admin/v1/deployments/d1/log", {"text": "== pod\nhello\n"})
    assert run("launch", "logs", "l1", "--pods").stdout == "== pod\nhello\n"
    assert json.loads(run("launch", "logs", "l1", "--pods", "--entry", "a/b", "--json").stdout) == {
        "text": "== pod\nhello\n"
    }
