"""Launches in clusters as the deployers' loops come to look at them. The clusters are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from structlog.testing import capture_logs

from libs.common.contracts.launches import KubernetesTarget, LaunchOrder, LaunchState, OrderAction
from services.deployer.cluster_launches import ClusterLaunches
from services.deployer.cluster_looks import MAX_AT_ONCE
from services.deployer.clusters import Clusters, Place
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.satellite import Satellite
from services.deployer.models import Launch
from services.deployer.satellite_source import Images
from tests.service.deployer.world import START, Deployer, World, deployer_on
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually

ECHO = satellites.algorithm("echo")
LOOK = timedelta(seconds=15)


@dataclass
class ScriptedClusters:
    """Clusters in which all is ready at once, or never; the `silent` ones do not answer."""

    silent: set[str] = field(default_factory=set)
    ready: bool = True
    asked: list[str] = field(default_factory=list)
    ensured: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Unset, `ensure` takes its time."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: int = 0
    """Changes that were taken notice of."""

    def __post_init__(self) -> None:
        self.open.set()

    @asynccontextmanager
    async def manager(self, place: Place) -> AsyncIterator[ScriptedClusters]:
        self.asked.append(place.cluster)
        if place.cluster in self.silent:
            await asyncio.Event().wait()
        yield self

    async def inspect(self, launch_id: UUID) -> Observation:
        return Observation(launch_id=launch_id, ready=self.ready)

    async def ensure(self, satellite: LaunchOrder) -> Observation:
        self.ensured += 1
        await self.open.wait()
        return await self.inspect(satellite.launch_id)

    async def retire(self, _: UUID) -> bool:
        return True

    async def changes(self, _: UUID) -> AsyncIterator[None]:
        yield
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield
            self.heard += 1


class Source:
    """All is there."""

    async def images(self, _: LaunchOrder) -> Images:
        return Images(revisions={}, gateway="g")

    async def satellite(self, order: LaunchOrder, _: Images) -> Satellite:
        return cast(Satellite, order)


@asynccontextmanager
async def looking_after(deployer: Deployer, clusters: ScriptedClusters) -> AsyncIterator[ClusterLaunches]:
    loop = ClusterLaunches(
        deployer.database,
        deployer.orders,
        deployer.launches,
        Source(),
        cast(Clusters, clusters),
        look=LOOK,
        clock=deployer.clock.moment,
    )
    async with loop.running():
        yield loop


class Launcher:
    """The registry's part: orders of one launch, told to several deployers."""

    def __init__(self, *deployers: Deployer, cluster: str = "good", launch_id: UUID | None = None) -> None:
        self.deployers = deployers
        self.cluster = cluster
        self.id = launch_id or uuid4()
        self.number = 0

    def order(self, **more: Any) -> LaunchOrder:
        self.number += 1
        target = KubernetesTarget(cluster=self.cluster, namespace="n", deadline_seconds=60)
        said = satellites.order(
            self.id, 1, satellites.entry("text/echo", ECHO), number=self.number, target=target, at=START, **more
        )
        for deployer in self.deployers:
            deployer.orders.apply(f"launch:{self.id}", said.model_dump(mode="json"))
        return said

    async def state(self) -> LaunchState:
        async with self.deployers[0].database.transaction() as session:
            return (await session.get_one(Launch, self.id)).state


async def test_a_cluster_that_does_not_answer_holds_up_its_own_launches_only(world: World) -> None:
    clusters = ScriptedClusters(silent={"dead"})
    async with looking_after(world.deployer, clusters) as loop:
        for _ in range(24):
            Launcher(world.deployer, cluster="dead").order()
        await loop.begin()
        await eventually(lambda: len(clusters.asked) == MAX_AT_ONCE)
        good = Launcher(world.deployer)
        good.order()
        await loop.begin()

        async def deployed() -> bool:
            return await good.state() is LaunchState.DEPLOYED

        await eventually(deployed)
        assert clusters.asked.count("dead") == MAX_AT_ONCE


async def test_what_changes_while_it_is_looked_at_is_looked_at_again(world: World) -> None:
    clusters = ScriptedClusters()
    launch = Launcher(world.deployer)
    launch.order()
    async with looking_after(world.deployer, clusters) as loop:
        await loop.once()
        assert await launch.state() is LaunchState.DEPLOYED
        clusters.open.clear()
        world.clock.forward(LOOK.total_seconds())
        await loop.begin()
        await eventually(lambda: clusters.ensured == 2)
        clusters.changed.set()
        await eventually(lambda: clusters.heard)
        await loop.begin()
        clusters.open.set()
        await loop.once()
        await loop.once()
        assert clusters.ensured == 3


async def test_deployers_that_hear_of_a_launch_at_once_write_it_down_once(world: World, deployer_url: str) -> None:
    clusters = ScriptedClusters()
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(deployer_on(deployer_url, world.clock))
        deployers = (world.deployer, other)
        loops = [await stack.enter_async_context(looking_after(one, clusters)) for one in deployers]
        for _ in range(10):
            launch = Launcher(*deployers)
            launch.order()
            with capture_logs() as logged:
                await asyncio.gather(*(loop.take_up() for loop in loops))
            assert logged == []
            assert await launch.state() is LaunchState.DEPLOYING


async def test_a_launch_that_cannot_be_written_down_holds_up_no_other(world: World) -> None:
    broken, launch = Launcher(world.deployer, launch_id=UUID(int=1)), Launcher(world.deployer)
    async with looking_after(world.deployer, ScriptedClusters()) as loop:
        broken.order()
        await loop.once()
        whole = await _set_order(world.deployer, broken.id, {})
        broken.order()
        launch.order()
        with capture_logs() as logged:
            await loop.once()
        assert "launch_not_taken_up" in {one["event"] for one in logged}
        assert {one["launch_id"] for one in logged} == {str(broken.id)}
        assert await launch.state() is LaunchState.DEPLOYED
        await _set_order(world.deployer, broken.id, whole)
        await loop.once()
        assert await broken.state() is LaunchState.DEPLOYED


async def test_an_ended_launch_is_followed_by_nobody(world: World, deployer_url: str) -> None:
    clusters = ScriptedClusters()
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(deployer_on(deployer_url, world.clock))
        first = await stack.enter_async_context(looking_after(world.deployer, clusters))
        second = await stack.enter_async_context(looking_after(other, clusters))
        launch = Launcher(world.deployer, other)
        launch.order()
        for loop in (first, second):
            await loop.once()
            world.clock.forward(LOOK.total_seconds())
        assert launch.id in first.watch.followed & second.watch.followed
        launch.order(action=OrderAction.STOP)
        for _ in range(3):
            world.clock.forward(2)
            await first.once()
        assert await launch.state() is LaunchState.STOPPED
        await second.once()
        assert not first.watch.followed | second.watch.followed


async def test_a_deadline_waits_while_nobody_looks(world: World) -> None:
    clusters = ScriptedClusters(ready=False)
    launch = Launcher(world.deployer)
    launch.order()
    async with looking_after(world.deployer, clusters) as loop:
        await loop.once()
        world.clock.forward(300)
        await loop.once()
        assert await launch.state() is LaunchState.DEPLOYING
        for _ in range(6):
            world.clock.forward(10)
            await loop.once()
        assert await launch.state() is LaunchState.FAILED


async def test_a_deadline_passes_while_others_of_the_cluster_are_looked_at(world: World) -> None:
    clusters = ScriptedClusters(ready=False)
    clusters.open.clear()
    launches = [Launcher(world.deployer) for _ in range(MAX_AT_ONCE + 1)]
    for launch in launches:
        launch.order()
    async with looking_after(world.deployer, clusters) as loop:
        await loop.begin()
        await eventually(lambda: clusters.ensured == MAX_AT_ONCE)
        world.clock.forward(45)
        clusters.open.set()
        await loop.once()
        world.clock.forward(20)
        await loop.once()
        assert {await launch.state() for launch in launches} == {LaunchState.FAILED}


async def _set_order(deployer: Deployer, launch_id: UUID, said: dict[str, Any]) -> dict[str, Any]:
    """What a row holds as its newest order; gives what it held."""
    async with deployer.database.transaction() as session:
        row = await session.get_one(Launch, launch_id)
        before, row.order = row.order, said
        return before
