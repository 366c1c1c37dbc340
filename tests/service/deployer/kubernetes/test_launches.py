"""Launches in clusters: orders in, states and reasons out, with real rows, a double of a cluster, and a clock."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from libs.common.contracts.launches import (
    LAUNCHED_FEED,
    KubernetesTarget,
    LaunchOrder,
    LaunchState,
    LaunchStatus,
    OrderAction,
    WorkersTarget,
)
from services.deployer import launch_listings
from services.deployer.cluster_launches import LEASE_SECONDS, ClusterLaunches
from services.deployer.clusters import Clusters
from services.deployer.kubernetes.satellite import Satellite
from services.deployer.models import Event, Launch
from services.deployer.satellite_source import Images, NotYet
from services.deployer.settings import ClusterSettings
from tests.service.deployer.world import START, Clock, Deployer, World, deployer_on, entry
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.asked import Refusal
from tests.support.kubernetes.controllers import Outcome

ECHO, LONER = satellites.algorithm("echo"), satellites.algorithm("loner")
LOOK = timedelta(seconds=15)


def image(revision: int) -> str:
    return ECHO.revisions[revision].id.hex * 2


@dataclass
class Source:
    """The registry's part. `missing` says what is not there yet, `fault` is raised."""

    missing: str | None = None
    fault: Exception | None = None
    asked: list[UUID] = field(default_factory=list)
    """Deployments whose images were asked for."""

    async def images(self, order: LaunchOrder) -> Images:
        self.asked.append(order.deployment_id)
        if self.fault is not None:
            raise self.fault
        if self.missing is not None:
            raise NotYet(self.missing)
        made = satellites.satellite(order, ECHO, LONER)
        return Images(revisions=made.images, gateway=made.gateway_image)

    async def satellite(self, order: LaunchOrder, images: Images) -> Satellite:
        return Satellite(satellites.plan(order, ECHO, LONER), images.revisions, images.gateway)


@dataclass
class Ground:
    """A deployer beside a cluster, and one launch."""

    deployer: Deployer
    double: KubernetesDouble
    clock: Clock
    settings: dict[str, ClusterSettings]
    source: Source = field(default_factory=Source)
    id: UUID = field(default_factory=uuid4)
    number: int = 0

    def __post_init__(self) -> None:
        self.launches = self.another(self.deployer)

    def another(self, deployer: Deployer) -> ClusterLaunches:
        return ClusterLaunches(
            deployer.database,
            deployer.orders,
            deployer.launches,
            self.source,
            Clusters(self.settings),
            look=LOOK,
            clock=self.clock.moment,
        )

    def order(self, version: int, *, revision: int = 0, replicas: int = 1, **more: Any) -> LaunchOrder:
        self.number += 1
        entries = [satellites.entry("text/echo", ECHO, revision, replicas)]
        target = KubernetesTarget(
            namespace="sat", cluster="prod", deadline_seconds=60, container_registry="registry.test/sat"
        )
        said = satellites.order(
            self.id, version, *entries, number=self.number, **{"target": target, "at": START, **more}
        )
        self.tell(said)
        return said

    def tell(self, said: LaunchOrder, to: Deployer | None = None) -> None:
        (to or self.deployer).orders.apply(f"launch:{self.id}", said.model_dump(mode="json"))

    async def step(self, seconds: float = 2.0) -> None:
        self.clock.forward(seconds)
        await self.launches.once()
        await asyncio.sleep(0.05)

    async def until(self, check: Callable[[LaunchStatus], object], seconds: float = 2.0) -> LaunchStatus:
        async def stepped() -> LaunchStatus:
            await self.step(seconds)
            found = await self.status()
            assert check(found), found
            return found

        return await eventually(stepped)

    async def state(self, state: LaunchState, seconds: float = 0.5) -> LaunchStatus:
        return await self.until(lambda found: found.state is state, seconds)

    async def status(self) -> LaunchStatus:
        async with self.deployer.database.transaction() as session:
            (found,) = await launch_listings.statuses(session, [self.id])
            return found

    async def row(self) -> Launch:
        async with self.deployer.database.transaction() as session:
            return await session.get_one(Launch, self.id)

    async def events(self) -> list[str]:
        async with self.deployer.database.transaction() as session:
            query = select(Event).where(Event.deployment_id.is_(None)).order_by(Event.id)
            return [row.message for row in (await session.execute(query)).scalars()]

    def running(self) -> set[str]:
        """Images of ready replicas."""
        return {
            str(pod["spec"]["containers"][0]["image"].rpartition(":")[2])
            for pod in self.double.bodies("Pod")
            if "algo" in pod["metadata"]["name"]
            and {"type": "Ready", "status": "True"} in pod["status"].get("conditions", ())
        }


@pytest.fixture
async def ground(world: World, clock: Clock, double: KubernetesDouble, tmp_path: Path) -> AsyncIterator[Ground]:
    server = ip_network("10.96.0.10/32")
    settings = {"prod": ClusterSettings(kubeconfig=double.kubeconfig(tmp_path / "config"), name_servers=(server,))}
    ground = Ground(world.deployer, double, clock, settings)
    async with ground.launches.watch.running():
        yield ground


async def test_an_order_brings_a_satellite_up_and_another_one_ends_it(ground: Ground) -> None:
    ground.order(1, replicas=2)
    status = await ground.state(LaunchState.DEPLOYED)
    assert (status.desired, status.ready, status.serving_version, status.reason) == (2, 2, 1, None)
    assert [(one.vanity_url, one.ready) for one in status.entries] == [("text/echo", 2)]
    page = await ground.deployer.feeds.page(LAUNCHED_FEED, since=0)
    assert [change for change in page.changes if change.body is not None] == [], "it answers its calls itself"
    ground.order(1, action=OrderAction.STOP)
    status = await ground.state(LaunchState.STOPPED)
    assert (status.serving_version, status.desired) == (None, 0)
    assert not [key for key in ground.double.store.objects if key[1] == "sat"]
    row = await ground.row()
    assert (row.places, row.lease_token) == ([], None)
    said = await ground.events()
    assert said[0] == "deploying: version 1 by root"
    assert said[-1] == "stopped: version 1 by root"


async def test_pods_may_ask_the_name_servers_of_the_settings(ground: Ground) -> None:
    ground.order(1)
    await ground.state(LaunchState.DEPLOYED)
    for name in ("execution-engine", "constellation-algorithms"):
        assert "10.96.0.10/32" in str(ground.double.body("NetworkPolicy", name)["spec"]["egress"])


async def test_images_are_waited_for_and_then_stay_the_same(ground: Ground) -> None:
    ground.source.missing = "images: the image of revision x is being made or pushed"
    ground.order(1)
    status = await ground.until(lambda found: found.reason)
    assert (status.state, status.reason) == (LaunchState.DEPLOYING, ground.source.missing)
    assert ("Namespace", None, "sat") not in ground.double.store.objects
    ground.source.missing = None
    await ground.state(LaunchState.DEPLOYED)
    asked = len(ground.source.asked)
    for _ in range(3):
        await ground.step(20)
    assert len(ground.source.asked) == asked
    assert (await ground.status()).reason is None


async def test_a_version_that_does_not_start_is_rolled_back_with_its_reason(ground: Ground) -> None:
    ground.order(1)
    await ground.state(LaunchState.DEPLOYED)
    ground.double.image_does(image(1), Outcome(exit_status=1, last_words="ValueError: no model"))
    ground.order(2, revision=1)
    await ground.until(lambda found: found.reason and "no model" in found.reason, 1.0)
    assert image(0) in ground.running()
    status = await ground.state(LaunchState.ROLLED_BACK, 20)
    assert (status.satellite_version, status.serving_version) == (2, 1)
    assert "not ready within 60 s: text/echo: 0 of 1 are ready (it ended with status 1" in (status.reason or "")
    await eventually(lambda: ground.running() == {image(0)})
    ground.order(3, revision=1, replicas=2)
    ground.double.image_does(image(1), Outcome())
    assert (await ground.state(LaunchState.DEPLOYED)).serving_version == 3


async def test_a_first_version_that_fails_is_tried_further(ground: Ground) -> None:
    ground.double.image_does(image(0), Outcome(pull_error="no such host"))
    ground.order(1)
    status = await ground.state(LaunchState.FAILED, 20)
    assert "cannot be pulled: no such host" in (status.reason or "")
    ground.double.image_does(image(0), Outcome())
    await ground.state(LaunchState.DEPLOYED)


async def test_damage_is_repaired_and_told(ground: Ground) -> None:
    ground.order(1)
    await ground.state(LaunchState.DEPLOYED)
    names = [one["metadata"]["name"] for one in ground.double.bodies("Deployment")]
    (name,) = [one for one in names if "algo" in one]
    ground.double.edit("Deployment", name, lambda body: body["spec"].update(replicas=0))
    ground.double.store.remove(("Ingress", "sat", "execution-engine"))
    ground.double.store.remove(("Service", "sat", "execution-engine"))

    async def is_repaired() -> bool:
        await ground.step(0.1)
        said = "\n".join(await ground.events())
        words = (f"repaired: set back Deployment '{name}' (spec.replicas)", "applied Service 'execution-engine'")
        return all(one in said for one in words)

    await eventually(is_repaired)  # long before it would be looked at anyway
    status = await ground.until(lambda found: found.ready == 1, 0.1)
    assert status.state is LaunchState.DEPLOYED


async def test_paused_nothing_is_changed(ground: Ground) -> None:
    ground.order(1)
    await ground.state(LaunchState.DEPLOYED)
    second = ground.order(2, revision=1)
    ground.tell(second.model_copy(update={"paused": True}))
    for _ in range(8):
        await ground.step(30)
    assert ground.running() == {image(0)}
    status = await ground.status()
    assert (status.state, status.paused) == (LaunchState.DEPLOYING, True)
    ground.tell(second)
    await ground.state(LaunchState.DEPLOYED)
    await eventually(lambda: ground.running() == {image(1)})


def unknown(ground: Ground) -> None:
    ground.settings.clear()
    ground.launches = ground.another(ground.deployer)


def unreadable(ground: Ground) -> None:
    file = ground.settings["prod"].kubeconfig
    assert file is not None
    file.write_text("nonsense")


def damaged(ground: Ground) -> None:
    file = ground.settings["prod"].kubeconfig
    assert file is not None
    said = json.loads(file.read_text())
    said["clusters"][0]["cluster"]["certificate-authority-data"] = b64encode(b"no certificate").decode()
    said["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    file.write_text(json.dumps(said))


def faulty(ground: Ground) -> None:
    ground.source.fault = KeyError("a secret")


def out_of_order(ground: Ground) -> None:
    ground.double.failing = Refusal(503, "Busy", "restarting")


def a_stranger(ground: Ground) -> None:
    ground.double.users.clear()


def not_allowed(ground: Ground) -> None:
    ground.double.allowed = lambda user, verb, resource, namespace: resource != "namespaces"


@pytest.mark.parametrize(
    ("made_so", "reason"),
    [
        (unknown, "knows no cluster 'prod', but 'in-cluster'; name its kubeconfig in CONSTELLATION_CLUSTERS"),
        (unreadable, "cannot be used: "),
        (damaged, "cannot be used: "),
        (faulty, "the deployer cannot do it by a fault of its own, which its log tells (KeyError)"),
        (out_of_order, "cluster 'prod' cannot do it now (status 503): restarting"),
        (a_stranger, "does not accept the credential in its kubeconfig"),
        (not_allowed, "there is no namespace 'sat' in cluster 'prod'"),
    ],
)
async def test_what_keeps_it_from_its_cluster_is_the_reason(
    ground: Ground, made_so: Callable[[Ground], None], reason: str
) -> None:
    made_so(ground)
    ground.order(1)
    status = await ground.until(lambda found: found.reason)
    assert status.state is LaunchState.DEPLOYING
    assert reason in (status.reason or "")
    assert not [key for key in ground.double.store.objects if key[1] == "sat"]
    status = await ground.state(LaunchState.FAILED, 20)
    assert reason in (status.reason or "")
    ground.order(1, action=OrderAction.STOP)


async def test_another_deployer_goes_on_wherever_one_died(ground: Ground, deployer_url: str) -> None:
    patient = KubernetesTarget(
        namespace="sat", cluster="prod", deadline_seconds=86_400, container_registry="registry.test/sat"
    )
    ground.order(1, target=patient)
    await ground.state(LaunchState.DEPLOYED)
    newest = ground.order(2, revision=1, replicas=3, target=patient)
    for attempt in range(30):
        async with deployer_on(deployer_url, ground.clock) as other:
            ground.tell(newest, other)
            successor = ground.another(other)
            async with successor.watch.running():
                work = asyncio.create_task(successor.once())
                await asyncio.sleep(0.03 * (attempt % 10))
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        assert ground.running(), "something serves all the time"
        ground.clock.forward(LEASE_SECONDS + 1)
    await ground.state(LaunchState.DEPLOYED, LEASE_SECONDS)
    await eventually(lambda: ground.running() == {image(1)})
    assert "rolling back" not in "".join(await ground.events())


async def test_two_deployers_do_not_work_on_one_launch(ground: Ground, deployer_url: str) -> None:
    order = ground.order(1)
    async with deployer_on(deployer_url, ground.clock) as other:
        ground.tell(order, other)
        second = ground.another(other)
        async with second.watch.running():

            async def both() -> bool:
                ground.clock.forward(2)
                await asyncio.gather(ground.launches.once(), second.once())
                return (await ground.status()).state is LaunchState.DEPLOYED

            await eventually(both)
    assert [event for event in await ground.events() if "set back" in event] == []


async def test_after_workers_nothing_is_left_there_and_the_other_way_round(world: World, ground: Ground) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    on_workers = [
        satellites.entry("text/echo", ECHO).model_copy(
            update={"algorithm_id": algorithm.id, "revision_id": algorithm.revisions[0].id}
        )
    ]
    ground.order(1, entries=on_workers, target=WorkersTarget(deadline_seconds=60))
    await world.settle()
    assert (await ground.status()).state is LaunchState.DEPLOYED
    assert len(world.serving()) == 1
    ground.order(1, action=OrderAction.STOP, target=WorkersTarget())  # never heard of
    ground.order(2)
    for _ in range(6):
        await ground.step()
        await world.step()
    assert (await ground.state(LaunchState.DEPLOYED)).serving_version == 2
    await world.settle()
    assert world.serving() == {}
    page = await ground.deployer.feeds.page(LAUNCHED_FEED, since=0)
    assert [change for change in page.changes if change.body is not None] == []

    ground.order(3, entries=on_workers, target=WorkersTarget(deadline_seconds=60))
    await world.settle()
    for _ in range(20):
        await ground.step()
    assert len(world.serving()) == 1
    await eventually(lambda: not ground.double.bodies("Deployment"))
    assert (await ground.status()).state is LaunchState.DEPLOYED
