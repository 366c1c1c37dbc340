"""A satellite's life in a namespace: on the double of a cluster always, and on a real one where KUBECONFIG names it.

See `places.py` and `stand_ins.py` in `tests/support/kubernetes` for what a real cluster is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.problems import Refused
from services.deployer.kubernetes.satellite import ENTRY, LAUNCH, REVISION, Manifest, Satellite, Site
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import places
from tests.support.kubernetes.places import Place

ECHO = satellites.algorithm("echo")


@pytest.fixture(params=["double", "cluster"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with places.place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def launch_id() -> UUID:
    return uuid4()


def version(
    place: Place, launch_id: UUID, number: int, *, revision: int = 0, replicas: int = 2, **more: Any
) -> Satellite:
    order = satellites.order(launch_id, number, satellites.entry("text/echo", ECHO, revision, replicas))
    return satellites.satellite(order, ECHO, image=place.stand_in.image, **more)


async def ready(place: Place, satellite: Satellite, manager: KubernetesManager | None = None) -> Observation:
    manager = manager or place.manager()

    async def step() -> Observation:
        found = await manager.ensure(satellite)
        assert found.ready, found.obstacle
        return found

    return await eventually(step, place.patience, every=0.2)


async def replicas(place: Place, launch_id: UUID) -> list[Manifest]:
    """Pods of algorithms that are not ending."""
    pods, _ = await place.cluster.list("Pod", place.namespace, {LAUNCH: str(launch_id)})
    return [pod for pod in pods if ENTRY in pod["metadata"]["labels"] and "deletionTimestamp" not in pod["metadata"]]


async def test_from_a_namespace_that_is_not_there_to_one_that_is_empty(place: Place, launch_id: UUID) -> None:
    assert await place.cluster.get("Namespace", place.namespace) is None
    secrets = {ECHO.id: {"KEY": "value"}}
    found = await ready(place, version(place, launch_id, 1, secrets=secrets))
    assert [(one.desired, one.ready) for one in found.entries] == [(2, 2)]
    assert (found.satellite_version, found.gateway is not None and found.gateway.ready) == (1, 2)
    assert await place.cluster.get("Namespace", place.namespace) is not None
    ingress = await place.cluster.get("Ingress", "execution-engine", place.namespace)
    assert ingress is not None
    assert ingress["spec"]["rules"][0]["host"] == f"{place.namespace}.test"
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/v1/algo/"

    second = await place.manager().ensure(version(place, launch_id, 1, secrets=secrets))
    assert (second.ready, second.told) == (True, ()), "the cluster keeps all as it was told"

    await place.manager().stop(launch_id, patience=place.patience)
    assert await place.manager().inspect(launch_id) is None
    for kind in ("Deployment", "Service", "Ingress", "ConfigMap", "Secret", "NetworkPolicy", "PodDisruptionBudget"):
        assert (await place.cluster.list(kind, place.namespace, {LAUNCH: str(launch_id)}))[0] == []
    assert await replicas(place, launch_id) == []


async def test_versions_follow_one_another_without_fewer_ready_than_wanted(place: Place, launch_id: UUID) -> None:
    manager = place.manager()
    await ready(place, version(place, launch_id, 1))
    satellite = version(place, launch_id, 2, revision=1)
    lowest = 2

    async def step() -> Observation:
        nonlocal lowest
        found = await manager.ensure(satellite)
        services, _ = await place.cluster.list("Deployment", place.namespace, {LAUNCH: str(launch_id)})
        (algorithm,) = [one for one in services if ENTRY in one["metadata"]["labels"]]
        lowest = min(lowest, algorithm.get("status", {}).get("availableReplicas", 0))
        assert found.ready, found.obstacle
        return found

    found = await eventually(step, place.patience, every=0.1)
    assert (found.satellite_version, lowest) == (2, 2)

    async def all_new() -> bool:
        pods = await replicas(place, launch_id)
        return {pod["metadata"]["labels"][REVISION] for pod in pods} == {str(ECHO.revisions[1].id)}

    await eventually(all_new, place.patience)


async def test_more_and_fewer_replicas(place: Place, launch_id: UUID) -> None:
    for number, count in enumerate((1, 3, 1), start=1):
        found = await ready(place, version(place, launch_id, number, replicas=count))
        assert [one.ready for one in found.entries] == [count]
        await eventually(partial(has_replicas, place, launch_id, count), place.patience)


async def has_replicas(place: Place, launch_id: UUID, count: int) -> bool:
    return len(await replicas(place, launch_id)) == count


async def test_a_secret_goes_after_all_that_names_it(place: Place, launch_id: UUID) -> None:
    manager = place.manager()
    await ready(place, version(place, launch_id, 1, secrets={ECHO.id: {"KEY": "v"}}, report_token="mandate"))
    labels = {LAUNCH: str(launch_id)}

    async def secrets() -> set[str]:
        found, _ = await place.cluster.list("Secret", place.namespace, labels)
        return {one["metadata"]["name"] for one in found}

    named = await secrets()
    lacking: list[str] = []

    async def step() -> bool:
        found = await manager.ensure(version(place, launch_id, 1))
        gone = named - await secrets()
        for kind in ("Deployment", "Pod"):
            bodies, _ = await place.cluster.list(kind, place.namespace, labels)
            staying = [body for body in bodies if "deletionTimestamp" not in body["metadata"]]
            lacking.extend(name for name in gone for body in staying if name in str(body["spec"]))
        return found.ready and len(gone) == 2

    await eventually(step, place.patience, every=0.1)
    assert lacking == [], "what starts again finds what it names"


async def test_a_killed_pod_is_noticed_and_comes_again(place: Place, launch_id: UUID) -> None:
    satellite = version(place, launch_id, 1)
    await ready(place, satellite)
    killed, _ = await replicas(place, launch_id)
    changes = place.manager().changes(launch_id)
    await anext(changes)
    await place.cluster.delete("Pod", killed["metadata"]["name"], place.namespace, grace=0)
    async with asyncio.timeout(place.patience):
        await anext(changes)
    await changes.aclose()

    async def made_up_for() -> bool:
        found = await place.manager().ensure(satellite)
        uids = {pod["metadata"]["uid"] for pod in await replicas(place, launch_id)}
        return found.ready and len(uids) == 2 and killed["metadata"]["uid"] not in uids

    await eventually(made_up_for, place.patience, every=0.2)


async def test_what_is_deleted_or_changed_is_put_right(place: Place, launch_id: UUID) -> None:
    satellite = version(place, launch_id, 1)
    await ready(place, satellite)
    found, _ = await place.cluster.list("Deployment", place.namespace, {LAUNCH: str(launch_id)})
    for body in found:
        await place.cluster.delete("Deployment", body["metadata"]["name"], place.namespace)
    await place.cluster.delete("Ingress", "execution-engine", place.namespace)
    again = await place.manager().ensure(satellite)
    assert any("Ingress" in said for said in again.told)
    await ready(place, satellite)
    assert await place.cluster.get("Ingress", "execution-engine", place.namespace) is not None


async def test_what_the_cluster_does_not_take_changes_nothing(place: Place, launch_id: UUID) -> None:
    site = Site(place.namespace, fqdn="not a host name")
    manager = KubernetesManager(place.cluster, site, render=place.stand_in.render)
    with pytest.raises(Refused, match=r"Ingress 'execution-engine': cluster '(double|real)' does not take it: "):
        await manager.ensure(version(place, launch_id, 1))

    async def is_gone() -> bool:
        return await place.cluster.get("Namespace", place.namespace) is None

    await eventually(is_gone, place.patience)


async def test_an_image_that_is_not_there_is_said(place: Place, launch_id: UUID) -> None:
    missing = "registry.invalid/constellation/none:1"
    if place.double is not None:
        place.double.image_does(missing, places.unpullable())
    order = satellites.order(launch_id, 1, satellites.entry("text/echo", ECHO))
    satellite = satellites.satellite(order, ECHO, image=missing)
    manager = place.manager()

    async def told() -> bool:
        return f"its image {missing} cannot be pulled" in ((await manager.ensure(satellite)).obstacle or "")

    await eventually(told, place.patience, every=0.2)
    found = await ready(place, version(place, launch_id, 2))
    assert found.satellite_version == 2
