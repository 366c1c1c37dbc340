"""A satellite's life on a real platform: launched, called by many, redeployed, rolled back, and hurt meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.author import Author
from tests.support.crowd import CLIENTS, Crowd
from tests.support.deployment import Deployment, Separate
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

SECONDS = 120.0
VERSIONED = """
import os, time
def apply(input):
    time.sleep(0.01)
    return {"version": VERSION, "pid": os.getpid(), "input": input}
"""


@pytest.fixture(scope="module")
def platform(postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Separate]:
    database = asyncio.run(postgres.create_database())
    with Separate(tmp_path_factory.mktemp("launches"), database_url=database, bus_url=rabbitmq.url) as running:
        yield running


@pytest.fixture(scope="module")
def author(platform: Separate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield author


class Administrator:
    """Somebody with an admin key, at work with HTTP only."""

    def __init__(self, platform: Deployment) -> None:
        self.platform = platform
        headers = {"authorization": f"Simple {platform.admin['admin_api_key']}"}
        self.http = httpx.Client(base_url=f"{platform.url}/admin/v1", headers=headers, timeout=60.0)

    def __enter__(self) -> Administrator:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def ok(self, method: str, path: str, **options: Any) -> Any:
        answer = self.http.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def order(self, launch: str, act: str, **body: Any) -> str:
        """Order something of a launch; the deployment's id."""
        ordered: str = self.ok("POST", f"/launches/{launch}/{act}", json=body)["id"]
        return ordered

    def deployment(self, deployment: str) -> dict[str, Any]:
        answer = self.http.get(f"/deployments/{deployment}")
        return answer.json() if answer.status_code == 200 else {"state": f"{answer.status_code}"}

    def wait(self, deployment: str, *states: str) -> dict[str, Any]:
        """The deployment, once it is in one of the states, while services may be away."""
        self.platform.wait_until(
            lambda: self.deployment(deployment)["state"] in states, f"bring {deployment} to {states}", SECONDS
        )
        return self.deployment(deployment)

    def replicas(self, deployment: str) -> list[dict[str, Any]]:
        found = self.deployment(deployment)["replicas"]
        return [one for one in found if one["desired"] == "running" and one["actual"] == "ready"]


@pytest.fixture(scope="module")
def admin(platform: Separate) -> Iterator[Administrator]:
    with Administrator(platform) as admin:
        yield admin


def of_version(number: int) -> str:
    return VERSIONED.replace("VERSION", str(number))


@pytest.fixture(scope="module")
def commits(author: Author) -> list[str]:
    """Three built commits of `tool`, the last of which does not load, and one of `other`."""
    found = [author.deploy("tool", of_version(1))]
    for source in (of_version(2), of_version(3) + "def load():\n    raise ValueError('no model')\n"):
        found.append(author.push("tool", {"src/tool.py": source}))
        author.build("tool", found[-1])
    found.append(author.deploy("other", of_version(1)))
    return found


def test_a_launch_is_called_while_it_is_edited_redeployed_rolled_back_and_hurt(
    platform: Separate, admin: Administrator, author: Author, commits: list[str]
) -> None:
    platform.start_service("worker", instance="worker2", CONSTELLATION_LISTEN_TCP="true")
    platform.wait_until(lambda: len(admin.ok("GET", "/workers")["items"]) == 2, "list two workers", SECONDS)

    def entries(commit: str) -> list[dict[str, Any]]:
        return [
            {"algorithm": f"{author.username}/tool/{commit}", "vanity_url": "text-tools/tool", "replicas": 2},
            {"algorithm": f"{author.username}/other/{commits[3]}", "vanity_url": "text-tools/other", "replicas": 1},
        ]

    satellite = admin.ok("POST", "/satellites", json={"name": "edge", "algorithms": entries(commits[0])})["id"]
    launch = admin.ok("POST", f"/satellites/{satellite}/launches", json={"name": "prod"})["id"]
    first = admin.order(launch, "deploy")
    found = admin.wait(first, "deployed")
    assert [(one["ready"], one["desired"]) for one in found["entries"]] == [(2, 2), (1, 1)]
    workers = {one["worker_id"] for one in admin.replicas(first)}
    assert len(workers) == 2, "replicas are spread over the workers"

    with Crowd(platform.url, author.key, "text-tools/tool") as crowd:
        platform.wait_until(lambda: len(crowd.oks) > 50, "answer by vanity URL", SECONDS)
        admin.ok("PATCH", f"/launches/{launch}", json={"description": "edited while it runs"})
        edited = admin.ok("PUT", f"/satellites/{satellite}", json={"algorithms": entries(commits[1])})
        assert [(one["name"], one["satellite_version"]) for one in edited["running"]] == [("prod", 1)]
        assert crowd.versions_since(0) == {1}, "editing changes nothing that runs"

        second = admin.order(launch, "deploy", satellite_version=2)
        for _ in range(2):
            time.sleep(random.uniform(0.05, 1.0))
            platform.signal("deployer", signal.SIGKILL)
            platform.start_service("deployer")
        admin.wait(second, "deployed")
        platform.wait_until(
            lambda: crowd.versions_since(time.monotonic() - 1) == {2}, "answer with version 2 only", SECONDS
        )
        back = admin.order(launch, "rollback")
        assert admin.wait(back, "deployed")["satellite_version"] == 1
        assert crowd.errors == [], "no call was lost until something was killed"

        hurt = time.monotonic()
        victims = {version_pid(author) for _ in range(20)}
        os.kill(victims.pop(), signal.SIGKILL)
        platform.wait_until(lambda: len(admin.replicas(back)) == 3, "make up for a killed replica", SECONDS)
        platform.wait_until(lambda: crowd.versions_since(time.monotonic() - 0.5) == {1}, "answer on", SECONDS)

        platform.signal("worker2", signal.SIGKILL)
        for pid in marked(str(platform.data_dir / "worker2")):
            with contextlib.suppress(ProcessLookupError):  # it ended with its parent
                os.kill(pid, signal.SIGKILL)
        survivors = {one["id"] for one in admin.ok("GET", "/workers")["items"] if one["state"] == "ready"}
        platform.wait_until(
            lambda: len(found := admin.replicas(back)) == 3 and len({one["worker_id"] for one in found}) == 1,
            "place elsewhere what ran on a lost worker",
            SECONDS,
        )
        assert {one["worker_id"] for one in admin.replicas(back)} <= survivors
        since = time.monotonic()
        platform.wait_until(lambda: len(crowd.versions_since(since)) == 1, "answer on", SECONDS)

    assert len(crowd.errors) <= 2 * CLIENTS, "only calls in flight on what was killed"
    assert all(at >= hurt for at, _ in crowd.errors), crowd.errors
    for _, words in crowd.errors:
        assert "exited" in words or "ended" in words or "lost" in words, f"not told clearly: {words}"
    assert len(crowd.oks) > 500

    admin.wait(admin.order(launch, "stop"), "stopped")
    answer = httpx.post(
        f"{platform.url}/v1/algo/text-tools/tool", json=1, headers={"authorization": f"Simple {author.key}"}
    )
    assert answer.status_code == 404


def version_pid(author: Author) -> int:
    """The process that answers a call of `text-tools/tool`."""
    pid: int = author.result("text-tools/tool", 0)["pid"]
    return pid


def marked(text: str) -> list[int]:
    """Pids of processes with a text on their command line."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as line:  # noqa: PTH123
                if text in line.read().decode(errors="replace"):
                    found.append(int(entry))
    return found


def test_a_version_that_does_not_load_is_rolled_back_by_itself(
    platform: Separate, admin: Administrator, author: Author, commits: list[str]
) -> None:

    def entries(commit: str) -> list[dict[str, Any]]:
        return [{"algorithm": f"{author.username}/tool/{commit}", "vanity_url": "bad/tool", "replicas": 1}]

    satellite = admin.ok("POST", "/satellites", json={"name": "bad", "algorithms": entries(commits[0])})["id"]
    target = {"kind": "workers", "deadline_seconds": 10}
    launch = admin.ok("POST", f"/satellites/{satellite}/launches", json={"name": "dev", "target": target})["id"]
    admin.wait(admin.order(launch, "deploy"), "deployed", "failed")
    admin.ok("PUT", f"/satellites/{satellite}", json={"algorithms": entries(commits[2])})
    with Crowd(platform.url, author.key, "bad/tool") as crowd:
        bad = admin.order(launch, "deploy", satellite_version=2)
        found = admin.wait(bad, "rolled_back")
        assert "not ready within 10 s" in found["reason"]
        since = time.monotonic()
        platform.wait_until(lambda: len(crowd.versions_since(since)) == 1, "answer on", SECONDS)
    assert crowd.errors == []
    assert {version for _, version in crowd.oks} == {1}
    shown = admin.ok("GET", f"/launches/{launch}")
    assert (shown["desired"]["satellite_version"], shown["running"]["serving_version"]) == (2, 1)
    messages = [one["message"] for one in admin.ok("GET", f"/deployments/{bad}/events")["items"]]
    assert any("no model" in message for message in messages), messages
