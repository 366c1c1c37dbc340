"""A node of the double whose pods really run, as containers of a Docker engine.

    async with KubernetesDouble().serve() as cluster, node(cluster, engine, pause=IMAGE, folder=FOLDER):
        ...

Done as a kubelet does it: images pulled by their references, a network that a pod keeps while its container is
started anew, commands, variables, files of Secrets and ConfigMaps, emptyDirs, users, read-only roots, capabilities,
limits of memory, probes by HTTP, restarts with a growing pause, preStop, SIGTERM and the grace of what ends, and what
a container printed. Readiness, and so Deployments and Services, is what the probes found.

Not done: more than one container in a pod, init containers, containers without all three probes, hooks and probes of
another kind than `preStop.sleep` and `httpGet`, restart policies but `Always`, requests and limits besides memory,
sizes of emptyDirs, changes of mounted objects, pull secrets, service accounts, spreading over nodes, eviction,
seccomp profiles but the engine's own, and what `network.py` names.

The engine has its bridge on a host of the test's own (tests/support/hosts.py), which all of this must run on.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import httpx
from aiodocker.containers import DockerContainer

from tests.support.docker import Docker
from tests.support.kubernetes.api import KubernetesDouble
from tests.support.kubernetes.containers import CannotRun, configuration, volumes
from tests.support.kubernetes.network import DOMAIN, RANGE, Proxy, names, port_of
from tests.support.kubernetes.store import Body, Store, key_of, moment

FIRST_PAUSE, MOST_PAUSE = 10.0, 300.0
"""Seconds before a container starts for the third time, and at most; it starts for the second time at once."""
LAST_WORDS = 2048
"""Bytes of the log that a status has of a container that failed."""


class Pod:
    """One pod, from when it is scheduled until nothing is left of it."""

    def __init__(self, node: Node, body: Body) -> None:
        self._node = node
        self._body = body
        self._key = key_of(body)
        self._folder = node.folder / body["metadata"]["uid"]
        (self._container,) = body["spec"]["containers"]
        self._address = ""
        self._made: list[DockerContainer] = []
        """The pause container, and all that ran."""
        self._restarts = 0
        self._state: Body = {"waiting": {"reason": "ContainerCreating"}}
        self._last: Body = {}
        self._started = self._ready = False
        self.ending = asyncio.Event()
        self.forced = asyncio.Event()

    async def live(self) -> None:
        try:
            await self._prepare()
            while not self.ending.is_set():
                await self._run()
        finally:
            for container in reversed(self._made):
                await container.delete(force=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self.forced.is_set():
                self._node.store.remove(self._key)

    async def log(self, *, previous: bool) -> str:
        ran = self._made[1:]
        which = ran[-2:-1] if previous else ran[-1:]
        return "".join([piece for one in which for piece in await one.log(stdout=True, stderr=True)])

    # Its container

    async def _prepare(self) -> None:
        """Network and volumes."""
        network = await self._node.engine.containers.create(
            {
                "Image": self._node.pause,
                "Cmd": ["/bin/sh", "-c", "read _"],
                "OpenStdin": True,
                "Hostname": self._body["metadata"]["name"],
                "HostConfig": {
                    "Dns": [self._node.address],
                    "DnsSearch": [f"{self._body['metadata']['namespace']}.{DOMAIN}", DOMAIN],
                    "DnsOptions": ["ndots:5"],
                },
            }
        )
        self._made.append(network)
        await network.start()
        self._address = (await network.show())["NetworkSettings"]["IPAddress"]
        self._tell()

    async def _run(self) -> None:
        """The container once, from its start until it has ended and may start anew."""
        try:
            container = await self._start()
        except (CannotRun, aiodocker.DockerError) as error:
            reason = "CreateContainerConfigError" if isinstance(error, CannotRun) else "ErrImagePull"
            self._state = {"waiting": {"reason": reason, "message": str(error)}}
            self._tell()
            await self._pause(1.0)
            return
        self._state = {"running": {"startedAt": moment()}}
        self._tell()
        exited = asyncio.create_task(container.wait())
        acts = [exited, asyncio.create_task(self._probe()), asyncio.create_task(self.ending.wait())]
        await asyncio.wait(acts, return_when=asyncio.FIRST_COMPLETED)
        acts[1].cancel()
        await asyncio.gather(acts[1], return_exceptions=True)
        if not exited.done():
            await self._end(container, exited)
        self._started = self._ready = False
        self._last = {"terminated": await self._outcome(container)}
        if not self.ending.is_set():
            pause = min(MOST_PAUSE, FIRST_PAUSE * 2 ** (self._restarts - 1)) if self._restarts else 0.0
            self._restarts += 1
            self._state = {"waiting": {"reason": "CrashLoopBackOff", "message": f"back-off {pause:.0f}s restarting"}}
            self._tell()
            await self._pause(pause)
        acts[2].cancel()

    async def _start(self) -> DockerContainer:
        engine, image = self._node.engine, self._container["image"]
        async with self._node.pulling:
            try:
                await engine.images.inspect(image)
            except aiodocker.DockerError:
                await engine.images.pull(image)
        if not hasattr(self, "_places"):
            self._places: Mapping[str, Path] = volumes(self._node.store, self._body, self._folder)
        said = configuration(self._node.store, self._body, self._container, self._places, self._made[0].id)
        container = await engine.containers.create(said)
        self._made.append(container)
        await container.start()
        return container

    async def _end(self, container: DockerContainer, exited: asyncio.Task[Any]) -> None:
        """Its hook, SIGTERM, and SIGKILL when the grace for both is over."""
        grace = asyncio.create_task(asyncio.sleep(self._body["spec"]["terminationGracePeriodSeconds"]))
        forced = asyncio.create_task(self.forced.wait())
        hook = self._container.get("lifecycle", {}).get("preStop", {})
        sleeping = asyncio.create_task(asyncio.sleep(hook.get("sleep", {}).get("seconds", 0)))
        over = {exited, grace, forced}
        try:
            await asyncio.wait({*over, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            if not any(one.done() for one in over):
                await _kill(container, "SIGTERM")
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                await _kill(container, "SIGKILL")
                await exited
        finally:
            for one in (grace, forced, sleeping):
                one.cancel()

    async def _outcome(self, container: DockerContainer) -> Body:
        state = (await container.show())["State"]
        code = state["ExitCode"]
        reason = "OOMKilled" if state["OOMKilled"] else "Error" if code else "Completed"
        words = ""
        if code and self._container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            words = (await self.log(previous=False))[-LAST_WORDS:]
        return {"exitCode": code, "reason": reason, "message": words, "finishedAt": moment()}

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ending.wait()

    # Its probes

    async def _probe(self) -> None:
        """Until it is to be ended for what a probe found."""
        if not await self._until_started(self._container["startupProbe"]):
            return
        self._started = True
        self._tell()
        readiness = asyncio.create_task(self._follow_readiness())
        try:
            await self._until_failed(self._container["livenessProbe"])
        finally:
            readiness.cancel()

    async def _until_started(self, probe: Body) -> bool:
        for _ in range(probe["failureThreshold"]):
            if (fault := await self._ask(probe)) is None:
                return True
            self._warn(f"Startup probe failed: {fault}")
            await asyncio.sleep(probe["periodSeconds"])
        return False

    async def _follow_readiness(self) -> None:
        probe = self._container["readinessProbe"]
        failures = 0
        while True:
            fault = await self._ask(probe)
            failures = 0 if fault is None else failures + 1
            if fault is not None:
                self._warn(f"Readiness probe failed: {fault}")
            if fault is None or failures >= probe["failureThreshold"]:
                self._ready = fault is None
                self._tell()
            await asyncio.sleep(probe["periodSeconds"])

    async def _until_failed(self, probe: Body) -> None:
        failures = 0
        while failures < probe["failureThreshold"]:
            fault = await self._ask(probe)
            failures = 0 if fault is None else failures + 1
            if fault is not None:
                self._warn(f"Liveness probe failed: {fault}")
            await asyncio.sleep(probe["periodSeconds"])

    async def _ask(self, probe: Body) -> str | None:
        """What is wrong; None when nothing is."""
        asked = probe["httpGet"]
        url = f"http://{self._address}:{port_of(self._body, asked['port'])}{asked['path']}"
        try:
            answer = await self._node.http.get(url, timeout=probe["timeoutSeconds"])
        except httpx.HTTPError as error:
            return f"Get {url}: {error!r}"
        return None if 200 <= answer.status_code < 400 else f"HTTP probe failed with statuscode: {answer.status_code}"

    # What the cluster is told

    def _tell(self) -> None:
        kept = self._node.store.objects.get(self._key)
        if kept is None or kept["metadata"]["uid"] != self._body["metadata"]["uid"]:
            return
        said: Body = {
            "name": self._container["name"],
            "image": self._container["image"],
            "restartCount": self._restarts,
            "ready": self._ready,
            "started": self._started,
            "state": self._state,
            "lastState": self._last,
            "containerID": f"docker://{self._made[-1].id}" if self._made[1:] else "",
        }
        status: Body = {
            "phase": "Running" if self._restarts or "running" in self._state else "Pending",
            "podIP": self._address,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if self._ready else "False"},
            ],
            "containerStatuses": [said],
        }
        if kept.get("status") != status:
            self._node.store.put({**copy.deepcopy(kept), "status": status})

    def _warn(self, message: str) -> None:
        if not self.ending.is_set():
            self._node.cluster.controllers.warn(self._body, message)


class Node:
    """Runs all pods of a cluster's double. Use `node`.

    Args:
        pause: an image of the engine's that has a shell.
        address: this host's, as containers see it.
    """

    def __init__(
        self,
        cluster: KubernetesDouble,
        engine: aiodocker.Docker,
        http: httpx.AsyncClient,
        folder: Path,
        pause: str,
        address: str,
    ) -> None:
        self.cluster = cluster
        self.store: Store = cluster.store
        self.engine = engine
        self.http = http
        self.folder = folder
        self.pause = pause
        self.address = address
        self.pulling = asyncio.Lock()
        self._pods: dict[str, Pod] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Run what is there, and end what is not."""
        while True:
            changed = self.store.changed
            there = {body["metadata"]["uid"]: body for body in self.store.find("Pod", None)}
            for uid, task in list(self._tasks.items()):
                if task.done():
                    del self._tasks[uid], self._pods[uid]
                    task.result()
                elif uid not in there:
                    self._pods[uid].forced.set()
                    self._pods[uid].ending.set()
            for uid, body in there.items():
                if uid not in self._pods and "deletionTimestamp" not in body["metadata"]:
                    self._pods[uid] = Pod(self, body)
                    self._tasks[uid] = asyncio.create_task(self._pods[uid].live())
                    self._tasks[uid].add_done_callback(lambda _: self.store.wake())
                elif uid in self._pods and "deletionTimestamp" in body["metadata"]:
                    self._pods[uid].ending.set()
            await changed.wait()

    async def log(self, body: Body, *, previous: bool) -> str:
        pod = self._pods.get(body["metadata"]["uid"])
        return await pod.log(previous=previous) if pod is not None else ""

    async def close(self) -> None:
        for pod in self._pods.values():
            pod.forced.set()
            pod.ending.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@asynccontextmanager
async def node(cluster: KubernetesDouble, docker: Docker, *, pause: str, folder: Path) -> AsyncIterator[Node]:
    """Args:
    docker: an engine with networks.
    pause: see Node.
    folder: for the volumes of pods.
    """
    _ip("route", "add", "local", RANGE, "dev", "lo")
    async with httpx.AsyncClient() as http, aiodocker.Docker(docker.host) as engine:
        (bridge,) = json.loads(_ip("-json", "-4", "address", "show", "dev", "docker0"))
        address = bridge["addr_info"][0]["local"]
        made = Node(cluster, engine, http, folder, pause, address)
        proxy = Proxy(cluster.store)
        cluster.controllers.node = made
        async with names(cluster.store, address):
            work = [asyncio.create_task(made.follow()), asyncio.create_task(_follow(cluster.store, proxy))]
            try:
                yield made
            finally:
                for task in work:
                    task.cancel()
                ended = await asyncio.gather(*work, return_exceptions=True)
                await made.close()
                await proxy.close()
                cluster.controllers.node = None
                for one in ended:
                    if isinstance(one, Exception):
                        raise one


async def _follow(store: Store, proxy: Proxy) -> None:
    while True:
        changed = store.changed
        await proxy.once()
        await changed.wait()


async def _kill(container: DockerContainer, number: str) -> None:
    with contextlib.suppress(aiodocker.DockerError):  # it has ended by itself
        await container.kill(signal=number)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
