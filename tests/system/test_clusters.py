"""A launch in a cluster, from the order to the end: images made and pushed, plan and secrets told, pods asked for."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.author import Author
from tests.support.deployment import Up
from tests.support.docker_registry import DockerRegistry
from tests.support.images import hollow_base
from tests.support.kubernetes import KubernetesDouble
from tests.system.test_launches import Administrator

SECONDS = 300.0
SECRET = "told to pods alone"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry") / "of-the-customer") as registry:
        yield registry


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clusters") / "prod.yaml"


@pytest.fixture(scope="module")
def platform(registry: DockerRegistry, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    environment = {
        "CONSTELLATION_IMAGE_BASE": str(hollow_base(tmp_path_factory.mktemp("base")).folder),
        "CONSTELLATION_IMAGE_PLAIN_HTTP": json.dumps([registry.host]),
        "CONSTELLATION_CLUSTERS": json.dumps({"prod": {"kubeconfig": str(kubeconfig), "drain_seconds": 60}}),
    }
    with Up(tmp_path_factory.mktemp("platform"), **environment) as running:
        yield running


@pytest.fixture
def author(platform: Up, tmp_path: Path) -> Iterator[Author]:
    with Author(platform.url, platform.admin["username"], platform.admin["api_key"], tmp_path) as author:
        yield author


@pytest.fixture
def admin(platform: Up) -> Iterator[Administrator]:
    with Administrator(platform) as admin:
        yield admin


async def test_a_launch_comes_to_a_cluster_and_leaves_it(
    registry: DockerRegistry, kubeconfig: Path, platform: Up, author: Author, admin: Administrator
) -> None:
    async with KubernetesDouble().serve() as cluster:
        launch = await asyncio.to_thread(_launch, author, admin, registry)
        first = await asyncio.to_thread(admin.order, launch, "deploy")
        await asyncio.to_thread(_wait, admin, first, "deploying")
        await asyncio.to_thread(_until_event, admin, first, "there is no kubeconfig")
        cluster.kubeconfig(kubeconfig)
        found = await asyncio.to_thread(_wait, admin, first, "deployed")
        assert found["serving_version"] == 1
        assert [(one["desired"], one["ready"]) for one in found["entries"]] == [(2, 2)]
        _check_objects(cluster, registry)
        said = await asyncio.to_thread(
            admin.ok, "GET", f"/deployments/{first}/log", params={"vanity_url": "edge/greet"}
        )
        assert said["text"].count("begins") == 2
        shown = await asyncio.to_thread(admin.ok, "GET", f"/launches/{launch}")
        assert shown["running"]["state"] == "deployed"

        killed = cluster.bodies("Deployment")[0]["metadata"]["name"]
        cluster.store.remove(("Deployment", "sat", killed))
        await asyncio.to_thread(_until_event, admin, first, f"repaired: applied Deployment '{killed}'")

        stopped = await asyncio.to_thread(admin.order, launch, "stop")
        await asyncio.to_thread(_wait, admin, stopped, "stopped")
        assert not [key for key in cluster.store.objects if key[1] == "sat"]


def _launch(author: Author, admin: Administrator, registry: DockerRegistry) -> str:
    commit = author.deploy("greet", "def apply(input):\n    return input\n")
    algorithm = author.http.get(f"/v1/algorithms/{author.username}/greet").json()
    secret = {"short_name": "t", "secret_key": "TOKEN", "secret_value": SECRET}
    assert author.http.post(f"/v1/algorithms/{algorithm['id']}/secrets", json=secret).is_success
    entry = {"algorithm": f"{author.username}/greet/{commit}", "vanity_url": "edge/greet", "replicas": 2}
    satellite = admin.ok("POST", "/satellites", json={"name": "edge", "algorithms": [entry]})
    target = {
        "kind": "kubernetes",
        "cluster": "prod",
        "namespace": "sat",
        "fqdn": "edge.example.com",
        "container_registry": f"{registry.host}/edge",
    }
    body = {"name": "prod", "target": target}
    launch: str = admin.ok("POST", f"/satellites/{satellite['id']}/launches", json=body)["id"]
    return launch


def _check_objects(cluster: KubernetesDouble, registry: DockerRegistry) -> None:
    containers = [body["spec"]["template"]["spec"]["containers"][0] for body in cluster.bodies("Deployment")]
    images = {container["image"] for container in containers}
    assert len(images) == 2
    for image in images:
        assert image.startswith(f"{registry.host}/edge@sha256:"), image
    secrets = [one for one in cluster.bodies("Secret") if "TOKEN" in one["data"]]
    assert [base64.b64decode(one["data"]["TOKEN"]).decode() for one in secrets] == [SECRET]
    elsewhere = [body for key, body in cluster.store.objects.items() if key[0] != "Secret"]
    assert SECRET not in json.dumps(elsewhere)
    (settings,) = cluster.bodies("ConfigMap")
    plan = json.loads(settings["data"]["plan.json"])
    assert [one["vanity_url"] for one in plan["order"]["entries"]] == ["edge/greet"]
    assert plan["keys"]["keys"]


def _wait(admin: Administrator, deployment: str, state: str) -> Any:
    admin.platform.wait_until(
        lambda: admin.deployment(deployment)["state"] == state, f"bring {deployment} to {state}", SECONDS
    )
    return admin.deployment(deployment)


def _until_event(admin: Administrator, deployment: str, words: str) -> None:
    def is_told() -> bool:
        events = admin.ok("GET", f"/deployments/{deployment}/events")["items"]
        return any(words in event["message"] for event in events)

    admin.platform.wait_until(is_told, f"tell of {words!r}", SECONDS)
