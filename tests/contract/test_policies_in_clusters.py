"""Who reaches whom in a satellite's namespace, on a real cluster whose network plugin enforces network policies.

CONSTELLATION_TEST_OUTSIDE names a place out of the cluster that its nodes reach, as HOST:PORT. Without it nothing is
tried: a plugin that enforces nothing takes policies all the same.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.catalog import NetworkAccess
from services.deployer.kubernetes.satellite import COMPONENT, LAUNCH, NETWORK, Manifest, Satellite
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import places
from tests.support.kubernetes.places import Place
from tests.support.kubernetes.reach import reached

FULL = satellites.algorithm("full")
LONER = satellites.algorithm("loner", access=NetworkAccess.ISOLATED)


@pytest.fixture
def outside() -> str:
    """A place out of the cluster."""
    named = os.environ.get("CONSTELLATION_TEST_OUTSIDE")
    if named is None:
        pytest.skip("NOT TRIED WITH ENFORCED POLICIES: CONSTELLATION_TEST_OUTSIDE names no place out of a cluster")
    return named


@pytest.fixture
async def place(outside: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with places.place("cluster", tmp_path) as place:
        yield place


@pytest.fixture
async def stranger(place: Place) -> AsyncIterator[str]:
    """The namespace of a pod that belongs to no launch."""
    namespace = places.new_namespace()
    async with places.removed_in_the_end(place.cluster, namespace):
        await place.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

        async def applied() -> bool:
            assert await place.cluster.get("ServiceAccount", "default", namespace)
            return bool(await place.cluster.apply(place.stand_in.canary(), namespace))

        await eventually(applied, place.patience, every=0.2)
        yield namespace


async def test_who_reaches_whom(place: Place, stranger: str, outside: str) -> None:
    launch_id = uuid4()
    await _ready(place, _satellite(place, launch_id))
    pods, _ = await place.cluster.list("Pod", place.namespace, {LAUNCH: str(launch_id)})
    full, loner, gateway = _of(pods, NETWORK, "full"), _of(pods, NETWORK, "isolated"), _of(pods, COMPONENT, "gateway")
    canary = await place.cluster.get("Pod", "canary", stranger)
    assert canary is not None
    known = {
        "full": [f"{_address(full)}:8080"],
        "loner": [f"{_address(loner)}:8080"],
        "calls": [f"{_address(one)}:8080" for one in (full, loner)],
        "gateways": [f"{_address(gateway)}:8000", f"execution-engine.{place.namespace}:80"],
        "others": [f"{_address(canary)}:8080"],
        "outside": [outside],
    }

    async def finds(pod: Manifest, namespace: str, **expected: str) -> None:
        """Of the places of that name, whether each is open."""
        wanted = {place: state for name, state in expected.items() for place in known[name]}

        async def found() -> bool:
            seen = await reached(places.real(), namespace, pod["metadata"]["name"], [*wanted])
            assert dict(zip(wanted, seen, strict=True)) == wanted
            return True

        await eventually(found, 60.0, every=1.0)

    here, everywhere = place.namespace, {"others": "open", "outside": "open"}
    await finds(canary, stranger, calls="shut", gateways="open", **everywhere)
    await finds(full, here, loner="shut", gateways="open", **everywhere)
    await finds(loner, here, full="shut", gateways="open", others="shut", outside="shut")
    await finds(gateway, here, calls="open", others="shut", outside="shut")

    await _ready(place, _satellite(place, launch_id, report_token="mandate"))
    pods, _ = await place.cluster.list("Pod", here, {LAUNCH: str(launch_id)})
    await finds(_of(pods, COMPONENT, "gateway"), here, calls="open", **everywhere)


def _satellite(place: Place, launch_id: UUID, **more: str) -> Satellite:
    entries = (satellites.entry("net/full", FULL), satellites.entry("net/loner", LONER))
    order = satellites.order(launch_id, 1, *entries)
    return satellites.satellite(order, FULL, LONER, image=place.stand_in.image, **more)


async def _ready(place: Place, satellite: Satellite) -> None:
    manager = place.manager()

    async def step() -> bool:
        found = await manager.ensure(satellite)
        assert found.ready, found.obstacle
        return True

    await eventually(step, place.patience, every=0.2)


def _of(pods: list[Manifest], label: str, value: str) -> Manifest:
    return next(pod for pod in pods if pod["metadata"]["labels"].get(label) == value)


def _address(pod: Manifest) -> str:
    address: str = pod["status"]["podIP"]
    return address
