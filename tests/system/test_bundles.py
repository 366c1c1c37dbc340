"""A satellite is carried away, and lives where nobody can be asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.author import Author
from tests.support.deployment import Up
from tests.support.hosts import LoneHost
from tests.support.images import hollow_base
from tests.support.ports import free_ports
from tests.system.test_launches import Administrator

COMMAND = Path(sys.executable).with_name("algo-install")
SECONDS = 300.0
GREETING = """
import os
def apply(input):
    return {"version": VERSION, "to": input, "secret": os.environ.get("TOKEN")}
"""
RELAY = """
import Algorithmia
def apply(input):
    return input
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The mothership. Images need a base to lie on; what runs without an engine uses nothing of it."""
    base = hollow_base(tmp_path_factory.mktemp("base"))
    with Up(tmp_path_factory.mktemp("mothership"), CONSTELLATION_IMAGE_BASE=str(base.folder)) as running:
        yield running


@pytest.fixture(scope="module")
def author(platform: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield author


@pytest.fixture(scope="module")
def admin(platform: Up) -> Iterator[Administrator]:
    with Administrator(platform) as admin:
        yield admin


@pytest.fixture
def host() -> Iterator[LoneHost]:
    with LoneHost() as host:
        yield host


class Bundle:
    """The commands of one satellite, as its operator types them."""

    def __init__(self, satellite: str, launch: str, folder: Path) -> None:
        self.names = (satellite, launch)
        self.folder = folder
        """Where they are typed."""

    @property
    def path(self) -> Path:
        return self.folder.joinpath("deployment", "current", "satellite", *self.names)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONSTELLATION_")}
        return subprocess.Popen(
            [str(COMMAND), "satellite", *self.names, *words],
            cwd=self.folder,
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, ok: bool = True, **environment: str) -> str:
        process = self.start(*words, **environment)
        said, _ = process.communicate(timeout=SECONDS)
        assert (process.returncode == 0) is ok, said
        return said


def launched(admin: Administrator, author: Author, **commits: str) -> tuple[str, str]:
    """A satellite and a launch of it that is to be carried away."""
    algorithms = [
        {"algorithm": f"{author.username}/{name}/{commit}", "vanity_url": f"edge/{name}", "replicas": 2}
        for name, commit in commits.items()
    ]
    satellite = admin.ok("POST", "/satellites", json={"name": "edge", "algorithms": algorithms})
    body = {"name": "offline", "target": {"kind": "bundle"}}
    launch = admin.ok("POST", f"/satellites/{satellite['id']}/launches", json=body)
    return satellite["id"], launch["id"]


def test_a_satellite_lives_where_its_mothership_cannot_be_reached(
    platform: Up, author: Author, admin: Administrator, host: LoneHost, tmp_path: Path
) -> None:
    commit = author.deploy("greet", f"VERSION = 1\n{GREETING}")
    algorithm = author.http.get(f"/v1/algorithms/{author.username}/greet").json()
    secret = {"short_name": "t", "secret_key": "TOKEN", "secret_value": "carried along"}
    assert author.http.post(f"/v1/algorithms/{algorithm['id']}/secrets", json=secret).status_code < 300
    bundle = Bundle(*launched(admin, author, greet=commit), tmp_path)
    key = platform.admin["admin_api_key"]

    _get_killed(bundle, key, platform.url)
    said = bundle.run("get", key, "--url", platform.url)
    assert "signed with" in said
    assert "up to date" in bundle.run("get", key), "the folder remembers where it came from"
    assert secret["secret_value"] not in said

    elsewhere = Bundle(*bundle.names, tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "deployment", elsewhere.folder / "deployment")
    shutil.rmtree(tmp_path / "deployment")
    host.on(lambda: _lives_alone(elsewhere, author))


def _get_killed(bundle: Bundle, key: str, url: str) -> None:
    """A `get` that dies when the first blob has come."""
    process = bundle.start("get", key, "--url", url)
    end = time.monotonic() + SECONDS
    while not list(bundle.path.glob("incoming/images/blobs/sha256/*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SECONDS)


def _lives_alone(bundle: Bundle, author: Author) -> None:
    (port,) = free_ports(1)
    (bundle.path / "bundle" / "plan.json").chmod(0o600)
    process = bundle.start("run", "--port", str(port))
    lines: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            if "calls are answered" in line:
                break
        else:
            raise AssertionError("".join(lines))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            answer = _call(http, author.key)
            assert answer["result"] == {"version": 1, "to": "Ann", "secret": "carried along"}
            launch = f"/launches/{bundle.names[1]}"
            assert _call(http, author.key, launch)["result"]["to"] == "Ann"
            assert (
                http.post("/v1/algo/edge/greet", json="x", headers={"authorization": "simWRONG"}).status_code == 401
            )
            assert http.get("/v1/data/x").status_code == 404
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said


def _call(http: httpx.Client, key: str, below: str = "") -> Any:
    answer = http.post(
        f"{below}/v1/algo/edge/greet",
        content=json.dumps("Ann"),
        headers={"authorization": f"Simple {key}", "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()
