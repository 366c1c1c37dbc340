"""Five processes on a private broker and database: what goes on when one of them is gone, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.author import Author
from tests.support.deployment import Separate
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

ECHO = "def apply(input):\n    return input\n"
PID = "import os\ndef apply(input):\n    return os.getpid()\n"


@pytest.fixture(scope="module")
def platform(postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Separate]:
    database = asyncio.run(postgres.create_database())
    with Separate(tmp_path_factory.mktemp("faults"), database_url=database, bus_url=rabbitmq.url) as running:
        yield running


@pytest.fixture(scope="module")
def author(platform: Separate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield author


@pytest.fixture(scope="module")
def echo(author: Author) -> str:
    return author.deploy("echo", ECHO, scaling={"min_replicas": 1, "max_replicas": 1})


def test_a_broker_restart_in_the_middle_of_builds_loses_no_job(
    platform: Separate, author: Author, rabbitmq: RabbitMQ, echo: str
) -> None:
    commits = {}
    for number in range(3):
        name = f"during_{number}"
        author.create(name)
        commits[name] = author.push(name, {f"src/{name}.py": ECHO, "requirements.txt": ""})
        if number == 1:
            restart = threading.Thread(target=rabbitmq.restart)
            restart.start()
    assert author.result("echo", "while the broker is away") == "while the broker is away"
    restart.join()
    for name, commit in commits.items():
        assert author.build(name, commit)["status"] == "succeeded"
        author.publish(name)
        assert author.result(name, 1) == 1


def test_calls_go_on_while_everything_but_gateway_and_replicas_is_dead(
    platform: Separate, author: Author, echo: str
) -> None:
    assert author.result("echo", 0) == 0
    for name in ("worker", "deployer", "registry", "fakts"):
        platform.signal(name, signal.SIGKILL)
    for number in range(20):
        assert author.result("echo", number) == number
    refused = author.http.get(f"/v1/algorithms/{author.username}/echo")
    assert refused.status_code in (502, 503)
    assert refused.json()["error"]["message"]
    platform.start()
    platform.wait_until(
        lambda: author.http.get(f"/v1/algorithms/{author.username}/echo").status_code == 200, "serve management again"
    )
    assert author.result("echo", "after") == "after"


def test_a_worker_that_is_killed_takes_its_replicas_over_when_it_is_back(platform: Separate, author: Author) -> None:
    author.deploy("pid", PID, scaling={"max_replicas": 1})
    pid = author.result("pid", 0)
    hosts = set(platform.replica_processes)
    platform.signal("worker", signal.SIGKILL)
    assert author.result("pid", 0) == pid
    leases = {_lease(platform)}
    platform.start_service("worker", CONSTELLATION_REPORT_SECONDS="1")

    def reported_again_and_again() -> bool:
        """It has obeyed what it was answered."""
        assert author.result("pid", 0) == pid
        leases.add(_lease(platform))
        return len(leases) > 3

    platform.wait_until(reported_again_and_again, "renew its worker's lease")
    assert author.result("pid", 0) == pid
    assert hosts & set(platform.replica_processes)


def test_a_second_worker_takes_replicas_and_when_it_is_lost_they_go_elsewhere(
    platform: Separate, author: Author
) -> None:
    admin = {"authorization": f"Simple {platform.admin['admin_api_key']}"}
    platform.wait_until(lambda: _states(platform) == ["ready"], "list its one worker")
    (first,) = (worker["id"] for worker in platform.listed("workers"))
    platform.start_service("worker", instance="worker2", CONSTELLATION_LISTEN_TCP="true")
    platform.wait_until(lambda: _states(platform) == ["ready", "ready"], "list the second worker")
    assert author.http.post(f"/admin/v1/workers/{first}/drain", headers=admin).status_code in (200, 202, 204)
    author.deploy("elsewhere", ECHO)
    assert author.result("elsewhere", "over tcp") == "over tcp"
    replicas = platform.listed("replicas")
    placed = {r["worker_id"] for r in replicas if r["algorithm"].endswith("/elsewhere") and r["actual"] == "ready"}
    assert placed
    assert first not in placed

    second = platform.processes["worker2"].pid
    platform.signal("worker2", signal.SIGKILL)
    for pid in _children_marked(platform.data_dir / "worker2"):
        with contextlib.suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    platform.start_service("worker", instance="worker3")
    platform.wait_until(lambda: _answer(author, "elsewhere"), "answer from another worker")
    assert second not in platform.replica_processes
    assert author.http.delete(f"/admin/v1/workers/{first}/drain", headers=admin).status_code in (200, 202, 204)
    platform.signal("worker3", signal.SIGTERM)


def _states(platform: Separate) -> list[str]:
    return [worker["state"] for worker in platform.listed("workers")]


def _lease(platform: Separate) -> str:
    """Until when the last report of the first worker counts."""
    worker_id = (platform.data_dir / "worker" / "worker_id").read_text().strip()
    (lease,) = (worker["lease_until"] for worker in platform.listed("workers") if worker["id"] == worker_id)
    return str(lease)


def _answer(author: Author, name: str) -> bool:
    answer = author.call(name, 7, timeout=5)
    return answer.status_code == 200 and answer.json().get("result") == 7


def _children_marked(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(int(entry.name))
    return found
