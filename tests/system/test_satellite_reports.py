"""A satellite apart from its platform: it serves while that is away, and what happened there is known afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from libs.common.clients.registry import RegistryClient
from libs.common.contracts.launches import entry_id
from libs.common.contracts.replicas import derived_token
from libs.common.contracts.satellites import SatellitePlan, reporter
from libs.common.join import membership
from tests.support.author import Author
from tests.support.deployment import COMMAND, Up
from tests.support.eventually import PATIENCE
from tests.support.ports import free_ports
from tests.support.replica import Replica
from tests.system.test_launches import Administrator

VANITY = "edge/echo"
SECRET = "of which what replicas want to be shown is made"
ECHO = """
def apply(input):
    if input == "bad":
        raise ValueError("no good")
    return input
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("mothership")) as running:
        yield running


@pytest.fixture
def author(platform: Up, tmp_path: Path) -> Iterator[Author]:
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path) as author:
        yield author


@pytest.fixture
def admin(platform: Up) -> Iterator[Administrator]:
    with Administrator(platform) as admin:
        yield admin


class Standalone:
    """A satellite's gateway as a process of its own. Everything that it knows is in its folder."""

    def __init__(self, folder: Path, plan: SatellitePlan, replica_port: int, key: str, caller: str) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.caller = caller
        route = entry_id(plan.order.launch_id, VANITY)
        (folder / "plan.json").write_text(plan.model_dump_json())
        (folder / "replicas.json").write_text(json.dumps({str(route): {"host": "localhost", "port": replica_port}}))
        (folder / "key").write_text(key)
        self._environment = {
            "CONSTELLATION_SATELLITE_PLAN": str(folder / "plan.json"),
            "CONSTELLATION_SATELLITE_REPLICAS": str(folder / "replicas.json"),
            "CONSTELLATION_REPLICA_SECRET": SECRET,
            "CONSTELLATION_REPORT_TOKEN_FILE": str(folder / "key"),
            "CONSTELLATION_REPORT_SECONDS": "0.5",
            "CONSTELLATION_REPORT_HEARTBEAT_SECONDS": "2",
            "CONSTELLATION_DATA_DIR": str(folder / "data"),
            "CONSTELLATION_PORT": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSTELLATION_")}
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(COMMAND), "serve", "gateway"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=inherited | self._environment,
            )
        until(lambda: self._answers("/readyz"), "be ready", self.log)

    def end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(PATIENCE)

    def call(self, value: str) -> dict[str, Any]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/v1/algo/{VANITY}",
            content=value,
            headers={"authorization": f"Simple {self.caller}", "content-type": "text/plain"},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def calls(self, count: int) -> list[str]:
        """So many calls, one of which fails; their request ids."""
        failed = self.call("bad")
        assert failed["error"]["message"] == "no good"
        answers = [self.call(f"{number}") for number in range(count - 1)]
        assert [one["result"] for one in answers] == [f"{number}" for number in range(count - 1)]
        return [one["request_id"] for one in (failed, *answers)]

    def spooled(self) -> tuple[int, int]:
        """Calls that are counted in reports on disk, and records of calls there."""
        found = {}
        for path in (self.folder / "data" / "reports").iterdir():
            if path.name == "lock" or path.suffix == ".part":
                continue
            try:
                document = json.loads(path.read_bytes())
            except FileNotFoundError:  # it was sealed, or sent, at this moment
                continue
            found[document["run"], document["sequence"]] = document
        used = [one for document in found.values() for one in document["usage"]]
        return sum(one["calls"] for one in used), sum(len(document["records"]) for document in found.values())

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def _answers(self, path: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False


def until(check: Callable[[], object], what: str, log: str = "", seconds: float = 2 * PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"it did not {what}: {log[-3000:]}"
        time.sleep(0.1)


async def plan_of(platform: Up, launch_id: UUID) -> SatellitePlan:
    """What the launch runs, as the platform tells its deployers."""
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as http,
        membership(
            http,
            fakts_url=platform.url,
            token=(platform.data_dir / "join-token").read_text().strip(),
            identifier="constellation.deployer",
            version="test",
            requires=("registry",),
        ) as member,
    ):
        await member.offer()
        await member.wait_for("registry")
        return await RegistryClient(http, member).launch_plan(launch_id)


def test_a_satellite_that_was_cut_off_and_killed_reports_every_call_once(
    platform: Up, author: Author, admin: Administrator, tmp_path: Path
) -> None:
    commit = author.deploy("echo", ECHO)
    entry = {"algorithm": f"{author.username}/echo/{commit}", "vanity_url": VANITY, "replicas": 1}
    satellite = admin.ok("POST", "/satellites", json={"name": "edge", "algorithms": [entry]})
    launch = admin.ok("POST", f"/satellites/{satellite['id']}/launches", json={"name": "factory"})["id"]
    admin.wait(admin.order(launch, "deploy"), "deployed")
    mandate = {"kind": "app", "identifiers": [reporter(UUID(launch))], "note": "reports"}
    key = admin.ok("POST", "/mandates", json=mandate)["key"]
    plan = asyncio.run(plan_of(platform, UUID(launch)))
    assert plan.mothership == platform.url
    [port] = free_ports(1)
    token = derived_token(SECRET, entry_id(UUID(launch), VANITY))
    with Replica(tmp_path / "replica", ECHO, tcp=f"127.0.0.1:{port}", token=token):
        edge = Standalone(tmp_path, plan, port, key, author.key)
        try:
            _story(platform, admin, launch, edge)
        finally:
            edge.end(signal.SIGKILL)
    assert key not in edge.log


def _story(platform: Up, admin: Administrator, launch: str, edge: Standalone) -> None:
    def usage() -> dict[str, Any]:
        entries = admin.ok("GET", f"/launches/{launch}/usage")["entries"]
        return entries[0] if entries else {"calls": 0}

    def gateways() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin.ok("GET", f"/launches/{launch}")["satellites"]
        return found

    edge.start()
    made = edge.calls(5)
    until(lambda: usage()["calls"] == 5, "report its calls", edge.log)
    [first] = gateways()
    assert (first["satellite_version"], first["ready"], first["desired"], first["stale"]) == (1, 1, 1, False)
    assert first["up_to_date"]
    until(lambda: edge.spooled() == (0, 0), "know that they arrived", edge.log)

    platform.stop()
    made += edge.calls(20)
    until(lambda: edge.spooled() == (20, 20), "keep what it cannot send", edge.log)
    edge.end(signal.SIGKILL)
    edge.start()
    made += edge.calls(5)
    until(lambda: edge.spooled() == (25, 25), "keep more", edge.log)
    assert "reports_wait" in edge.log

    platform.start()
    until(lambda: usage()["calls"] == 30, "report all its calls", edge.log)
    until(lambda: edge.spooled() == (0, 0), "know that they arrived", edge.log)
    assert (usage()["calls"], usage()["errors"]) == (30, 3)
    told = admin.ok("GET", f"/calls?launch_id={launch}&limit=100")["items"]
    assert sorted(one["request_id"] for one in told) == sorted(made)
    assert [one["error"] for one in told if one["error"]] == ["no good"] * 3
    until(lambda: len({one["run"] for one in gateways()}) == 2, "be known as the same gateway", edge.log)
    assert len({one["instance"] for one in gateways()}) == 1

    [app] = [one for one in admin.ok("GET", "/apps")["items"] if launch in str(one)]
    assert admin.http.delete(f"/apps/{app['id']}").status_code == 204
    made += edge.calls(3)
    until(lambda: "was revoked" in edge.log, "be told that it reports no more", edge.log)
    assert edge.call("on it goes")["result"] == "on it goes"
    assert usage()["calls"] == 30
    assert edge.end(signal.SIGTERM) == 0
