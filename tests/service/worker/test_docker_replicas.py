"""The life of replicas in containers: real worker, real engine, scripted platform."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from libs.common.contracts.catalog import NetworkAccess
from libs.common.contracts.replicas import ReplicaState
from services.worker import processes
from services.worker.app import create_app
from services.worker.folders import Folders
from services.worker.runtimes.protocol import RuntimeUnavailable
from services.worker.sandbox import MARK
from tests.service.worker.calling import call, call_tcp
from tests.service.worker.platform_double import Platform
from tests.service.worker.replicas import ALGORITHM, artifact_of, javascript, run_folders
from tests.service.worker.test_recovery import worker_process
from tests.support.docker import Docker, python_root
from tests.support.docker_registry import DockerRegistry
from tests.support.eventually import eventually

pytestmark = pytest.mark.docker

PASSWORD = "of-the-registry"
PASSWORD_HASH = "$2b$04$E58TbssleUjzktYqbS75j.jR0EUgvGSpcFJJl1bb9fPs7bTwQPRk6"
READY, STOPPED, FAILED = ReplicaState.READY, ReplicaState.STOPPED, ReplicaState.FAILED


def variables(docker: Docker, image: str) -> dict[str, str]:
    """Of a worker that runs containers."""
    return {
        "CONSTELLATION_RUNTIME": "docker",
        "CONSTELLATION_DOCKER_HOST": docker.host,
        "CONSTELLATION_RUNTIME_IMAGE": image,
        "CONSTELLATION_RUNTIME_NETWORK": "host",
    }


def settings(docker: Docker, image: str, **more: Any) -> dict[str, Any]:
    names = {name.removeprefix("CONSTELLATION_").lower(): value for name, value in variables(docker, image).items()}
    return {**names, **more}


def containers(docker: Docker, data_dir: Path) -> list[str]:
    """Names of all of a worker's containers."""
    label = f"label=constellation.worker={(data_dir / 'worker_id').read_text().strip()}"
    return (docker.run("ps", "-a", "--filter", label, "--format", "{{.Names}}") or "").split()


async def test_a_replica_in_a_container_is_started_called_drained_and_forgotten(
    docker: Docker, python_image: str, tmp_path: Path
) -> None:
    async with Platform() as platform, platform.worker(tmp_path, **settings(docker, python_image)) as worker:
        revision = uuid4()
        platform.secrets[revision] = {"API_PASSWORD": "of-the-author"}
        replica = platform.order(artifact_of(platform), name="any", revision_id=revision, secrets_version=3)
        isolated = platform.order(artifact_of(platform), name="any", network_access=NetworkAccess.ISOLATED)
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert platform.reports[-1].runtime == "docker"
        assert platform.reports[-1].labels["isolated_network"] == "yes"
        assert await call(report, {"env": "API_PASSWORD"}) == "of-the-author"
        assert await call(report, {"env": "CONSTELLATION_JOIN_TOKEN"}) is None
        report = await platform.until(isolated, READY)
        assert "from the gateway" in await call(report, {"chain": "/v1/algo/a/b"}, x_caller="cat.token")
        assert len(await asyncio.to_thread(containers, docker, tmp_path)) == 2
        for one in (replica, isolated):
            platform.drain(one)
        await platform.wake(worker)
        for one in (replica, isolated):
            await platform.until(one, STOPPED)
        assert not await asyncio.to_thread(containers, docker, tmp_path)
        assert not run_folders(worker)


async def test_an_isolated_replica_takes_calls_of_other_hosts_for_as_long_as_they_can_reach_it(
    docker: Docker, python_image: str, tmp_path: Path
) -> None:
    tcp = settings(docker, python_image, listen_tcp=True)
    async with Platform() as platform, platform.worker(tmp_path, **tcp) as worker:
        replica = platform.order(artifact_of(platform), name="any", network_access=NetworkAccess.ISOLATED)
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert report.address is not None
        _, answer = await call_tcp(report, {"x": 1}, token=report.address.token)
        assert answer["result"] == ["seen", {"x": 1}]
        assert (await call_tcp(report, {"x": 1}, token="wrong"))[0] == 403
        (entrance,) = {pid for pid, name in processes.marked(MARK).items() if name.endswith(str(replica))}
        os.kill(entrance, signal.SIGKILL)
        failed = await platform.until(replica, FAILED)
        assert "what carries calls of other hosts to it has ended" in (failed.reason or "")
        assert not await asyncio.to_thread(containers, docker, tmp_path)
        assert not run_folders(worker)


async def test_a_killed_container_is_reported_with_its_last_words(
    docker: Docker, python_image: str, tmp_path: Path
) -> None:
    async with Platform() as platform, platform.worker(tmp_path, **settings(docker, python_image)) as worker:
        replica = platform.order(artifact_of(platform), name="any")
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        await call(report, {"print": "famous last words"})
        await eventually(lambda: "famous" in next((tmp_path / "run").glob("*/d/log")).read_text())
        (name,) = await asyncio.to_thread(containers, docker, tmp_path)
        await asyncio.to_thread(docker.run, "kill", name)
        failed = await platform.until(replica, FAILED)
        assert failed.reason is not None
        assert failed.reason.startswith("the replica's process ended with status 137: it was killed\n")
        assert "famous last words" in failed.reason
        assert not await asyncio.to_thread(containers, docker, tmp_path)
        assert not run_folders(worker)
        assert "famous last words" in next((tmp_path / "logs").glob(f"{replica}.*.log")).read_text()


async def test_an_image_comes_from_a_private_registry(docker: Docker, python_image: str, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"puller:{PASSWORD_HASH}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(users)}}
    async with Platform() as platform:
        with DockerRegistry(tmp_path / "registry", auth=auth) as registry:
            image = f"{registry.host}/private/python:1"
            await asyncio.to_thread(publish, docker, registry, python_image, image)

            async def started(**more: str) -> str | None:
                """None, or why a replica was not started by a worker with these settings."""
                async with platform.worker(tmp_path / "data", **settings(docker, image, **more)) as worker:
                    replica = platform.order(artifact_of(platform), name="any")
                    await platform.wake(worker)
                    return (await platform.until(replica, READY, FAILED)).reason

            name = "runtime_registry_username"
            for more in ({}, {name: "puller", "runtime_registry_password": "a-wrong-word"}):
                reason = await started(**more)
                assert reason is not None
                assert f"the image {image} cannot be pulled from {registry.host}: " in reason
                assert "CONSTELLATION_RUNTIME_REGISTRY_USERNAME" in reason
                assert "a-wrong-word" not in reason
            assert await started(**{name: "puller", "runtime_registry_password": PASSWORD}) is None
        assert await started() is None, "an image that is here is not asked for again"


def publish(docker: Docker, registry: DockerRegistry, local: str, image: str) -> None:
    """Push an image, and forget it here."""
    docker.run("login", "--username", "puller", "--password", PASSWORD, registry.host)
    docker.run("tag", local, image)
    docker.run("push", image)
    docker.run("rmi", image)
    docker.run("logout", registry.host)


async def test_javascript_is_served_in_a_container(docker: Docker, tmp_path: Path) -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("Node.js is not installed")
    archive, image = python_root(tmp_path / "root.tar", node=Path(node)), "constellation-test/node:base"
    await asyncio.to_thread(docker.run, "import", str(archive), image)
    async with Platform() as platform, platform.worker(tmp_path / "data", **settings(docker, image)) as worker:
        replica = javascript(platform)
        await platform.wake(worker)
        report = await platform.until(replica, READY)
        assert await call(report, [1, 2]) == {"got": [1, 2]}
        assert len(await asyncio.to_thread(containers, docker, tmp_path / "data")) == 1
    await asyncio.to_thread(docker.run, "rmi", image)


async def test_a_worker_that_was_killed_takes_up_its_containers(
    docker: Docker, python_image: str, tmp_path: Path
) -> None:
    code = ALGORITHM.replace('return ["seen", input]', "return open('/proc/self/stat').read().split()[21]")
    async with Platform() as platform:
        async with worker_process(platform, tmp_path, **variables(docker, python_image)) as first:
            kept = platform.order(artifact_of(platform, code), name="any")
            lost = platform.order(artifact_of(platform, code), name="any")
            report, other = await platform.until(kept, READY), await platform.until(lost, READY)
            started = await call(report, {})
            assert await call(other, {})
            first.kill()
            await first.wait()
            assert await call(report, {}) == started
        mark = Folders(tmp_path).mark()
        await asyncio.to_thread(docker.run, "kill", f"constellation-{mark}-{lost}")
        worker = f"constellation.worker={Folders(tmp_path).worker_id()}"
        stray = [
            "--name",
            f"stray-{mark}",
            "--label",
            worker,
            "--label",
            f"constellation.replica={uuid4()}",
            python_image,
        ]
        sleep = ["python3", "-c", "import time; time.sleep(600)"]
        await asyncio.to_thread(docker.run, "run", "-d", "--network", "none", *stray, *sleep)
        platform.reports.clear()
        async with worker_process(platform, tmp_path, **variables(docker, python_image)) as second:
            again = await platform.until(kept, READY)
            assert (again.address, again.since) == (report.address, report.since)
            assert await call(again, {}) == started
            failed = await platform.until(lost, FAILED)
            assert failed.reason == "it ended while its worker was away: it was killed"
            assert await asyncio.to_thread(containers, docker, tmp_path) == [f"constellation-{mark}-{kept}"]
            second.terminate()
            await second.wait()
        assert not await asyncio.to_thread(containers, docker, tmp_path)


async def test_a_worker_without_an_engine_does_not_start(tmp_path: Path) -> None:
    async with Platform() as platform:
        nowhere = {"runtime": "docker", "docker_host": f"unix://{tmp_path}/nothing.sock"}
        app = create_app(platform.settings(tmp_path, **nowhere), bus=platform.bus)
        with pytest.raises(RuntimeUnavailable, match=r"no Docker engine .*CONSTELLATION_RUNTIME=process"):
            async with app.router.lifespan_context(app):
                pass
