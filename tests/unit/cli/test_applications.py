"""Applications on the command line."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.cli.platform import Platform, Run

ADDRESS = "/admin/v1/applications"
DIGITS = f"{ADDRESS}/digits"
ONE, TWO = f"joe/digits/{'a' * 40}", f"joe/digits/{'b' * 40}"


def linked(version: str, state: str = "ready", ready: int | None = 1, reason: str | None = None) -> dict[str, Any]:
    return {
        "algorithm": version,
        "is_current": version == ONE,
        "state": state,
        "replicas": 1,
        "deployment_id": "d1",
        "running": None if ready is None else {"ready": ready, "desired": 1, "reason": reason},
    }


def digits(**members: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "name": "digits",
        "description": "",
        "address": "/v1/algo/applications/digits",
        "default_answer": {"digit": -1},
        "latency_goal_ms": 100,
        "current": ONE,
        "switching_to": None,
        "versions": [linked(ONE), linked(TWO)],
        **members,
    }


def deployment(state: str, reason: str | None = None) -> dict[str, Any]:
    return {"id": "d1", "state": state, "reason": reason, "entries": [{"ready": 1, "desired": 2}]}


def test_an_application_is_made_with_its_default_and_goal(run: Run, platform: Platform) -> None:
    platform.on(f"POST {ADDRESS}", digits(), 201)
    done = run("application", "create", "digits", "--default", '{"digit": -1}', "--latency-goal", "100")
    assert done.exit_code == 0, done.stderr
    assert platform.body == {"name": "digits", "default_answer": {"digit": -1}, "latency_goal_ms": 100}
    assert 'default answer  {"digit": -1}' in done.stdout
    assert "http://platform.example/v1/algo/applications/digits" in done.stdout
    done = run("application", "create", "digits", "--default", "none")
    assert (done.exit_code, "a text needs quotes" in done.stderr) == (1, True)


def test_changing_takes_away_what_is_named_so(run: Run, platform: Platform) -> None:
    platform.on(f"PATCH {DIGITS}", digits(default_answer=None, latency_goal_ms=None, description="x"))
    done = run("application", "edit", "digits", "--no-default", "--no-latency-goal", "--description", "x")
    assert (done.exit_code, "default answer" in done.stdout) == (0, False)
    assert platform.body == {"default_answer": None, "latency_goal_ms": None, "description": "x"}
    assert run("application", "edit", "digits", "--default", "0", "--latency-goal", "5").exit_code == 0
    assert platform.body == {"default_answer": 0, "latency_goal_ms": 5}
    assert "say what to change" in run("application", "edit", "digits").stderr


def test_applications_are_listed_shown_and_removed(run: Run, platform: Platform) -> None:
    platform.on(f"GET {ADDRESS}", {"items": [digits()], "cursor": None})
    assert run("application", "ls").stdout.splitlines()[1] == f"digits\t{ONE}\t\t100"
    platform.on(f"GET {DIGITS}", digits())
    shown = run("application", "show", "digits").stdout
    assert f"{ONE}\tyes\tready\t1\t1\t\td1" in shown
    assert json.loads(run("application", "show", "digits", "--json").stdout) == digits()
    platform.on(f"DELETE {DIGITS}", {"removed": "digits"})
    assert "digits" in run("application", "rm", "digits").stdout
    platform.on(f"DELETE {DIGITS}/versions/{TWO}", digits(versions=[linked(ONE)]))
    assert TWO not in run("application", "unlink", "digits", TWO).stdout
    platform.on(f"POST {DIGITS}/stop-inactive", digits(versions=[linked(ONE), linked(TWO, "stopped")]))
    assert f"{TWO} x1 stopped" in run("application", "stop-inactive", "digits").stdout


@pytest.mark.parametrize(("state", "status"), [("deployed", 0), ("rolled_back", 1), ("failed", 1)])
def test_linking_and_scaling_wait_for_the_replicas(run: Run, platform: Platform, state: str, status: int) -> None:
    platform.on(f"POST {DIGITS}/versions", digits(), 201)
    platform.on(f"PATCH {DIGITS}/versions/{TWO}", digits())
    platform.on("GET /admin/v1/deployments/d1", deployment(state, "no room" if status else None))
    platform.on(f"GET {DIGITS}", digits())
    for arguments, asked in (
        (("link", "digits", TWO, "--replicas", "2"), {"algorithm": TWO, "replicas": 2}),
        (("set-replicas", "digits", TWO, "2"), {"replicas": 2}),
    ):
        platform.requests.clear()
        done = run("application", *arguments)
        assert (done.exit_code, "no room" in done.stderr) == (status, bool(status))
        assert json.loads(platform.requests[0].content) == asked
        assert "1 of 2 ready" in done.stderr
    done = run("application", "link", "digits", TWO, "--no-wait")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_switch_is_waited_for(run: Run, platform: Platform) -> None:
    platform.on(f"POST {DIGITS}/set-version", digits(current=TWO))
    done = run("application", "set-version", "digits", TWO)
    assert (done.exit_code, f"current         {TWO}" in done.stdout) == (0, True)
    assert platform.body == {"algorithm": TWO}
    platform.on(f"POST {DIGITS}/set-version", digits(switching_to=TWO))
    waiting = [linked(ONE), linked(TWO, "starting", None)], [linked(ONE), linked(TWO, "starting", 0, "no room")]
    answers = [digits(switching_to=TWO, versions=versions) for versions in waiting] + [digits(current=TWO)]
    calls = iter(answers)

    class Changing(dict[str, httpx.Response]):
        def get(self, line: str, default: Any = None) -> Any:
            return httpx.Response(200, json=next(calls)) if line == f"GET {DIGITS}" else super().get(line, default)

    platform.answers = Changing(platform.answers)
    done = run("application", "set-version", "digits", TWO)
    assert (done.exit_code, f"current         {TWO}" in done.stdout) == (0, True)
    assert done.stderr.splitlines() == [f"{TWO}: starting", f"{TWO}: starting, 0 of 1 ready (no room)"]
    assert f"switching to    {TWO}" in run("application", "set-version", "digits", TWO, "--no-wait").stdout
