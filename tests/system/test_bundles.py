"""A satellite is carried away, and lives where nobody can be asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.author import Author
from tests.support.clients import algorithmia_python
from tests.support.deployment import Up
from tests.support.docker_registry import DockerRegistry
from tests.support.hosts import LoneHost
from tests.support.images import hollow_base
from tests.support.kubernetes import KubernetesDouble
from tests.support.ports import free_ports
from tests.system.test_launches import Administrator

COMMAND = Path(sys.executable).with_name("algo-install")
SECONDS = 300.0
GREETING = """
import os
def apply(input):
    return {"version": VERSION, "to": input, "secret": os.environ.get("TOKEN")}
"""
CLIENT = """
import json, sys, Algorithmia
print(json.dumps(Algorithmia.client(*sys.argv[1:]).algo("edge/greet").pipe("Eve").result))
"""
SECRET = "carried along"


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
    secret = {"short_name": "t", "secret_key": "TOKEN", "secret_value": SECRET}
    assert author.http.post(f"/v1/algorithms/{algorithm['id']}/secrets", json=secret).status_code < 300
    satellite, launch = launched(admin, author, greet=commit)
    here = Bundle(satellite, launch, tmp_path)
    key = platform.admin["admin_api_key"]

    _get_killed(here, key, platform.url)
    said = here.run("get", key, "--url", platform.url)
    assert "signed with" in said
    assert SECRET not in said
    assert "up to date" in here.run("get", key), "the folder remembers where it came from"
    there = Bundle(satellite, launch, tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "deployment", there.folder / "deployment")
    client = algorithmia_python("2.0.5")
    host.on(lambda: asyncio.run(_lives_alone(there, author.key, key, client)))

    commit = author.push("greet", {"src/greet.py": f"VERSION = 2\n{GREETING}"})
    assert author.build("greet", commit)["status"] == "succeeded"
    algorithms = [{"algorithm": f"{author.username}/greet/{commit}", "vanity_url": "edge/greet", "replicas": 2}]
    admin.ok("PUT", f"/satellites/{satellite}", json={"algorithms": algorithms})
    assert "up to date" in there.run("get", key), "the launch still names the first version"
    admin.ok("PATCH", f"/launches/{launch}", json={"satellite_version": 2})
    said = there.run("get", key)
    assert "edge, version 2" in said
    assert re.search(r"downloaded +3 files", said), "the layer with the source, and the image's two documents"

    async def second() -> None:
        async with running(there) as http:
            assert (await call(http, author.key))["result"]["version"] == 2

    host.on(lambda: asyncio.run(second()))


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


async def _lives_alone(bundle: Bundle, key: str, admin_key: str, client: Path) -> None:
    """On a host of its own: processes start in this thread, and are waited for in others."""
    assert "cannot be reached" in await ended(bundle, "get", admin_key, ok=False)
    assert "signed with" in await ended(bundle, "verify")
    await _refuses_what_was_changed(bundle)
    await _deploys(bundle)
    async with running(bundle) as http:
        assert (await call(http, key))["result"] == {"version": 1, "to": "Ann", "secret": SECRET}
        assert (await call(http, key, f"/launches/{bundle.names[1]}"))["result"]["to"] == "Ann"
        wrong = {"authorization": "Simple simAAAAAAAAAAAAAAAAAAAAAAAA1"}
        assert (await http.post("/v1/algo/edge/greet", json="x", headers=wrong)).status_code == 401
        assert (await http.get("/admin/v1/launches", headers={"authorization": admin_key})).status_code == 404
        process = _calling(client, key, str(http.base_url))
        told, _ = await asyncio.to_thread(process.communicate, None, SECONDS)
        assert json.loads(told) == {"version": 1, "to": "Eve", "secret": SECRET}


def _calling(python: Path, key: str, url: str) -> subprocess.Popen[str]:
    """The published client at work."""
    return subprocess.Popen([str(python), "-c", CLIENT, key, url.rstrip("/")], stdout=subprocess.PIPE, text=True)


async def _refuses_what_was_changed(bundle: Bundle) -> None:
    """All bits of all files are the unit tests' part."""
    blob = max(bundle.path.glob("bundle/images/blobs/sha256/*"), key=lambda path: path.stat().st_size)
    for path, verb in ((blob, "run"), (bundle.path / "bundle" / "secrets.json", "verify")):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        assert path.name in await ended(bundle, verb, ok=False)
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(byte)


async def _deploys(bundle: Bundle) -> None:
    folder = bundle.folder
    async with KubernetesDouble().serve() as cluster:
        with DockerRegistry(folder / "registry") as registry:
            cluster.kubeconfig(folder / "kubeconfig")
            said = await ended(bundle, "configure", "stage.container_registry=127.0.0.1:1/x", ok=False)
            assert "stage.container_registry: " in said
            await ended(bundle, "configure", f"stage.container_registry={registry.host}/edge/images")
            said = await ended(bundle, "configure", ".stage.kubernetes.kubeconfig_path=gone", ok=False)
            assert f"stage.kubernetes.kubeconfig_path: {folder / 'gone'} cannot be read" in said
            await ended(bundle, "configure", ".stage.kubernetes.kubeconfig_path=kubeconfig")
            assert "stage.kubernetes.namespace" in await ended(bundle, "deploy", ok=False)
            await ended(bundle, "configure", ".stage.kubernetes.namespace=sat")
            await ended(bundle, "configure", "stage.fqdn=edge.example.org")
            said = await ended(bundle, "deploy")
            assert said.splitlines()[-1] == "http://edge.example.org/v1/algo/edge/greet"
            images = {
                container["image"]
                for body in cluster.bodies("Deployment")
                for container in body["spec"]["template"]["spec"]["containers"]
            }
            assert len(images) == 2
            assert all(image.startswith(f"{registry.host}/edge/images/") for image in images)
            cluster.requests.clear()
            assert "nothing had to be changed" in await ended(bundle, "deploy")
            assert "patch" not in {verb for verb, _ in cluster.requests}


async def ended(bundle: Bundle, *words: str, ok: bool = True) -> str:
    """What a command said."""
    process = bundle.start(*words)
    said, _ = await asyncio.to_thread(process.communicate, None, SECONDS)
    assert (process.returncode == 0) is ok, said
    return said


@asynccontextmanager
async def running(bundle: Bundle) -> AsyncIterator[httpx.AsyncClient]:
    """The satellite, while it runs on the spot."""
    (port,) = free_ports(1)
    process = bundle.start("run", "--port", str(port))
    lines: list[str] = []

    def answers() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "calls are answered" in line:
                return
        raise AssertionError("".join(lines))

    try:
        await asyncio.wait_for(asyncio.to_thread(answers), SECONDS)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            yield http
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(process.communicate, None, SECONDS)
    assert process.returncode == 0, said


async def call(http: httpx.AsyncClient, key: str, below: str = "") -> Any:
    answer = await http.post(
        f"{below}/v1/algo/edge/greet",
        content=json.dumps("Ann"),
        headers={"authorization": f"Simple {key}", "content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()
