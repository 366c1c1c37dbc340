"""A launch in a cluster whose pods really run: what manifests say, images hold and gateways do, all at once.

On a host of its own: the platform, a container registry, a Docker engine with its bridge, and the double of a cluster
with a node that runs its pods there. And with a real cluster, where KUBECONFIG names one, and
CONSTELLATION_TEST_REGISTRY a place (`HOST:PORT/PATH`, without TLS) to which this machine pushes and from which the
cluster pulls. This machine must reach the addresses of its Services, as its nodes do.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Cluster, connect
from services.deployer.kubernetes.satellite import GATEWAY, MANAGED_BY, MANAGER, VANITY_URL, Manifest
from tests.service.worker.places import passable_folder
from tests.support.author import Author
from tests.support.crowd import CLIENTS, Crowd
from tests.support.deployment import COMMAND, Up
from tests.support.docker import Docker
from tests.support.docker_registry import DockerRegistry
from tests.support.eventually import eventually
from tests.support.hosts import LoneHost
from tests.support.images import python_base
from tests.support.kubernetes import KubernetesDouble, places
from tests.support.kubernetes.kubelet import node

SECONDS = 300.0
PAUSE = "constellation-test/pause"
SECRET = "told to the pods of one algorithm alone"
SPOKEN = """
import hashlib, os
print("the algorithm is loaded", flush=True)
def apply(input):
    told = hashlib.sha256(os.environ.get("TOKEN", "").encode()).hexdigest()
    return {"input": input, "version": VERSION, "told": told, "user": os.getuid()}
"""
CHAIN = """
import json, os, urllib.request
def apply(input):
    if input == "environment":
        return dict(os.environ)
    headers = {"content-type": "application/json"}
    there = os.environ["ALGORITHMIA_API"] + "/v1/algo/edge/spoken"
    with urllib.request.urlopen(urllib.request.Request(there, json.dumps(input).encode(), headers)) as answer:
        return json.load(answer)["result"]
"""


@pytest.fixture
def lone_host(docker: Docker) -> Iterator[LoneHost]:
    """The engine of all tests says whether one can be had here."""
    with LoneHost() as host:
        yield host


@pytest.mark.docker
def test_a_satellite_in_pods_that_really_run(lone_host: LoneHost, python_archive: Path, tmp_path: Path) -> None:
    lone_host.on(lambda: asyncio.run(_story(python_archive, tmp_path)))


async def test_a_satellite_in_pods_of_a_real_cluster(python_archive: Path, tmp_path: Path) -> None:
    pushed_to = os.environ.get("CONSTELLATION_TEST_REGISTRY")
    access = places.real()
    if pushed_to is None:
        pytest.skip("NOT TRIED ON A REAL CLUSTER: CONSTELLATION_TEST_REGISTRY names no place for its images")
    namespace = places.new_namespace()
    async with connect(access) as cluster, places.removed_in_the_end(cluster, namespace):

        async def kill(pod: Manifest) -> None:
            await cluster.delete("Pod", pod["metadata"]["name"], namespace, grace=0)

        ground = Ground(cluster, namespace, pushed_to, kill, restarts=False)
        await _told(ground, python_archive, tmp_path, access)


async def _story(python_archive: Path, folder: Path) -> None:
    with (
        passable_folder() as place,
        closing(engine := Docker(place / "engine", networks=True)),
        DockerRegistry(folder / "registry") as registry,
    ):
        await asyncio.to_thread(engine.start)
        await asyncio.to_thread(engine.run, "import", str(python_archive), PAUSE)
        async with (
            KubernetesDouble().serve() as double,
            node(double, engine, pause=PAUSE, folder=place / "pods"),
            connect(access := Access("prod", double.kubeconfig(folder / "kubeconfig"))) as cluster,
        ):

            async def kill(pod: Manifest) -> None:
                container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
                await asyncio.to_thread(engine.run, "kill", container)

            ground = Ground(cluster, "sat", f"{registry.host}/edge", kill, restarts=True)
            await _told(ground, python_archive, folder, access)
            assert not await asyncio.to_thread(engine.run, "ps", "--all", "--quiet")


async def _told(ground: Ground, python_archive: Path, folder: Path, access: Access) -> None:
    for name in ("base", "author", "up"):
        (folder / name).mkdir()
    cluster = {"kubeconfig": str(access.kubeconfig), "context": access.context, "drain_seconds": 30}
    variables = {
        "CONSTELLATION_IMAGE_BASE": str(python_base(folder / "base", python_archive).folder),
        "CONSTELLATION_IMAGE_PLAIN_HTTP": json.dumps([ground.pushed_to.partition("/")[0]]),
        "CONSTELLATION_CLUSTERS": json.dumps({"prod": cluster}),
    }
    platform = Up(folder / "up", **variables)
    await asyncio.to_thread(platform.__enter__)
    try:
        admin = platform.admin
        with Author(platform.url, admin["username"], admin["api_key"], folder / "author") as author:
            await Story(platform, author, ground).tell()
    finally:
        await asyncio.to_thread(platform.stop)


@dataclass(frozen=True)
class Ground:
    """Where the satellite runs.

    Attributes:
        pushed_to: where its images are.
        kill: ends the container of a pod, or all of it, at once.
        restarts: whether the same pod comes again then.
    """

    cluster: Cluster
    namespace: str
    pushed_to: str
    kill: Callable[[Manifest], Awaitable[None]]
    restarts: bool

    async def bodies(self, kind: str) -> list[Manifest]:
        return (await self.cluster.list(kind, self.namespace, {MANAGED_BY: MANAGER}))[0]


class Story:
    def __init__(self, platform: Up, author: Author, ground: Ground) -> None:
        self.platform = platform
        self.author = author
        self.ground = ground

    async def tell(self) -> None:
        spoken, second, chain = await asyncio.to_thread(self._write)
        entries = [*_entry(self.author, "spoken", spoken), *_entry(self.author, "chain", chain)]
        satellite = await self._command("satellite", "create", "edge", *entries)
        place = self.ground
        target = ["cluster=prod", f"namespace={place.namespace}", f"container_registry={place.pushed_to}"]
        options = [word for member in target for word in ("--set", member)]
        launch = await self._command("launch", "create", satellite["id"], "prod", "--target", "kubernetes", *options)
        deployed = await self._command("launch", "deploy", launch["id"])
        assert deployed["state"] == "deployed", deployed

        service = await self.ground.cluster.get("Service", GATEWAY, self.ground.namespace)
        assert service is not None
        url = f"http://{service['spec']['clusterIP']}"
        await self._calls(url)
        async with self._crowd(url, "edge/chain") as crowd:
            await self._until(lambda: len(crowd.oks) > 50, crowd)
            await self._command("satellite", "edit", satellite["id"], *_entry(self.author, "spoken", second, 2))
            deployed = await self._command("launch", "deploy", launch["id"], "--version", "2")
            assert (deployed["state"], deployed["serving_version"]) == ("deployed", 2), deployed
            assert len(await self._pods("edge/spoken")) == 2
            await self._until(lambda: crowd.oks[-1][1] == 2, crowd)
            await self._until(self._none_ends, crowd)
            assert crowd.errors == [], "no call was lost"
        await self._restarts(url)
        said = await self._command("launch", "logs", launch["id"], "--pods", "--entry", "edge/spoken")
        assert said["text"].count("the algorithm is loaded") == 2, said["text"]
        said = await self._command("launch", "logs", launch["id"], "--pods")
        assert (said["text"].count("== "), "the algorithm is loaded" in said["text"]) == (5, True), said["text"]
        assert SECRET not in said["text"]

        await self._command("launch", "stop", launch["id"])
        assert not await self.ground.bodies("Pod")

    def _write(self) -> tuple[str, str, str]:
        """Commits of the algorithms: two of one that is told a secret, and one of one that may but call it."""
        first = self.author.deploy("spoken", SPOKEN.replace("VERSION", "1"))
        algorithm = self.author.http.get(f"/v1/algorithms/{self.author.username}/spoken").json()
        secret = {"short_name": "t", "secret_key": "TOKEN", "secret_value": SECRET}
        assert self.author.http.post(f"/v1/algorithms/{algorithm['id']}/secrets", json=secret).is_success
        second = self.author.push("spoken", {"src/spoken.py": SPOKEN.replace("VERSION", "2")})
        assert self.author.build("spoken", second)["status"] == "succeeded"
        return first, second, self.author.deploy("chain", CHAIN, network_access="isolated")

    async def _command(self, *words: str) -> Any:
        """The document that a command gives, which must succeed."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(COMMAND), *words, "--json"],
            env={**os.environ, "CONSTELLATION_DATA_DIR": str(self.platform.data_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{await self._reasons()}"
        return json.loads(done.stdout)

    @asynccontextmanager
    async def _crowd(self, url: str, reference: str) -> AsyncIterator[Crowd]:
        """Beside this loop, which passes its connections on."""
        crowd = Crowd(url, self.author.key, reference)
        await asyncio.to_thread(crowd.__enter__)
        try:
            yield crowd
        finally:
            await asyncio.to_thread(crowd.__exit__)

    async def _until(self, is_so: Callable[[], object], crowd: Crowd) -> None:
        try:
            await eventually(is_so, SECONDS, every=0.1)
        except AssertionError as error:
            said = f"{error}; {len(crowd.oks)} calls, {crowd.errors[:3]}\n{await self._reasons()}"
            raise AssertionError(said) from None

    async def _calls(self, url: str) -> None:
        """What a call of either algorithm, directly and through the other, gives to whom."""
        async with httpx.AsyncClient(base_url=f"{url}/v1/algo/edge", timeout=SECONDS) as http:
            mine = {"authorization": f"Simple {self.author.key}"}
            told = {"version": 1, "told": hashlib.sha256(SECRET.encode()).hexdigest(), "user": 65532}
            for name in ("spoken", "chain"):
                answer = await http.post(f"/{name}", json="hello", headers=mine)
                assert answer.json().get("result") == {"input": "hello", **told}, answer.text
            wrong = await http.post("/spoken", json="hello", headers={"authorization": "Simple simWrong1"})
            assert wrong.status_code == 401, wrong.text
            seen = (await http.post("/chain", json="environment", headers=mine)).text
            kept = [_decoded(one) for body in await self.ground.bodies("Secret") for one in body["data"].values()]
            assert SECRET in kept
            assert not [one for one in kept if one in seen]

    async def _restarts(self, url: str) -> None:
        """A container is killed; calls go on with the other replica, and it comes again."""
        async with self._crowd(url, "edge/spoken") as crowd:
            await self._until(lambda: len(crowd.oks) > 50, crowd)
            victim, *_ = await self._pods("edge/spoken")
            await self.ground.kill(victim)
            await self._until(lambda: self._came_again(victim), crowd)
            seen = len(crowd.oks)
            await self._until(lambda: len(crowd.oks) > seen + 50, crowd)
        lost = [words for _, words in crowd.errors if "replica" not in words]
        assert not lost, lost
        assert len(crowd.errors) <= CLIENTS, "only calls that ran in it are lost"

    async def _came_again(self, killed: Manifest) -> bool:
        pods = await self._pods("edge/spoken")
        again = self.ground.restarts == (killed["metadata"]["name"] in {pod["metadata"]["name"] for pod in pods})
        states = [status for pod in pods for status in pod["status"].get("containerStatuses", ())]
        restarts = sum(status["restartCount"] for status in states)
        ready = len(states) == 2 and all(status["ready"] for status in states)
        return again and ready and restarts == int(self.ground.restarts)

    async def _pods(self, vanity_url: str) -> list[Manifest]:
        """Those that are not ending."""
        return [
            pod
            for pod in await self.ground.bodies("Pod")
            if pod["metadata"]["annotations"].get(VANITY_URL) == vanity_url
            and "deletionTimestamp" not in pod["metadata"]
        ]

    async def _none_ends(self) -> bool:
        return not any("deletionTimestamp" in pod["metadata"] for pod in await self.ground.bodies("Pod"))

    async def _reasons(self) -> str:
        """What became of the pods, for the message of a failure."""
        said = []
        for pod in await self.ground.bodies("Pod"):
            name = pod["metadata"]["name"]
            printed = await self.ground.cluster.logs(self.ground.namespace, name, lines=20, most=1 << 16)
            said.append(f"-- {name}\n{json.dumps(pod.get('status'), indent=1)}\n{printed.decode(errors='replace')}")
        return "\n".join([*said, self.platform.log_tail("up")])


def _entry(author: Author, name: str, commit: str, replicas: int = 1) -> list[str]:
    return ["--algorithm", f"{author.username}/{name}/{commit}=edge/{name}:{replicas}"]


def _decoded(text: str) -> str:
    return b64decode(text).decode()
