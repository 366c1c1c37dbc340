"""Launches on workers: orders in, replicas and addresses out, with scripted workers and a clock that tests turn."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.launches import (
    LAUNCHED_FEED,
    KeySet,
    Launched,
    LaunchEntry,
    LaunchOrder,
    LaunchState,
    LaunchStatus,
    OrderAction,
    WorkersTarget,
    entry_id,
)
from services.deployer import launch_listings
from services.deployer.models import Replica
from tests.service.deployer.world import START, Deployer, World, deployer_on, entry

VANITY = "foo/bar"


class Launcher:
    """The registry's part: orders of one launch."""

    def __init__(self, world: World, launch_id: UUID | None = None) -> None:
        self.world = world
        self.id = launch_id or uuid4()
        self.number = 0

    def order(
        self,
        version: int,
        *entries: tuple[str, CatalogEntry, int, int],
        action: OrderAction = OrderAction.DEPLOY,
        to: Deployer | None = None,
        **more: Any,
    ) -> LaunchOrder:
        """Entries are vanity URL, algorithm, number of its revision, and replicas."""
        self.number += 1
        said = LaunchOrder(
            deployment_id=uuid4(),
            launch_id=self.id,
            number=self.number,
            action=action,
            satellite_id=UUID(int=7),
            satellite="edge",
            satellite_version=version,
            name="dev",
            entries=tuple(
                LaunchEntry(
                    vanity_url=vanity,
                    owner=algorithm.owner,
                    name=algorithm.name,
                    commit=algorithm.revisions[number].commit,
                    algorithm_id=algorithm.id,
                    revision_id=algorithm.revisions[number].id,
                    replicas=replicas,
                )
                for vanity, algorithm, number, replicas in entries
            ),
            keys=f"digest{version}",
            target=WorkersTarget(deadline_seconds=60, **more),
            by="root",
            at=START,
        )
        self.tell(said, to)
        return said

    def tell(self, said: LaunchOrder, to: Deployer | None = None) -> None:
        orders = (to or self.world.deployer).orders
        orders.apply(f"keys:{said.keys}", KeySet(keys={said.keys: "joe"}).model_dump(mode="json"))
        orders.apply(f"launch:{self.id}", said.model_dump(mode="json"))

    async def status(self) -> LaunchStatus:
        async with self.world.deployer.database.transaction() as session:
            (found,) = await launch_listings.statuses(session, [self.id])
            return found

    async def state(self) -> LaunchState:
        return (await self.status()).state

    async def routed(self, vanity: str = VANITY) -> set[UUID]:
        return await self.world.deployer.routed(entry_id(self.id, vanity))


async def answering(world: World) -> dict[str, Any]:
    """What the feed `launched` says."""
    page = await world.deployer.feeds.page(LAUNCHED_FEED, since=0)
    return {change.key: change.body for change in page.changes if change.body is not None}


async def launched(world: World, launch: Launcher) -> Launched:
    return Launched.model_validate((await answering(world))[f"launch:{launch.id}"])


async def test_an_order_brings_replicas_over_the_workers_and_an_address(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    workers = [world.add_worker(name) for name in ("w1", "w2", "w3")]
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 3))
    await world.settle()
    assert [len(worker.replicas) for worker in workers] == [1, 1, 1], "spread over hosts"
    status = await launch.status()
    assert (status.state, status.desired, status.ready, status.serving_version) == (LaunchState.DEPLOYED, 3, 3, 1)
    assert len(await launch.routed()) == 3
    said = await launched(world, launch)
    assert (said.plain, said.keys) == ((VANITY,), "digest1")
    assert KeySet.model_validate((await answering(world))["keys:digest1"]).keys == {"digest1": "joe"}
    await world.settle(40)
    assert len(await launch.routed()) == 3, "nobody calls, and all stay"


async def test_a_new_version_takes_over_without_a_gap_and_then_the_rest_ends(world: World) -> None:
    algorithm, other = entry(revisions=2), entry()
    world.deployer.learn(algorithm, other)
    workers = [world.add_worker(name) for name in ("w1", "w2")]
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2), ("gone/soon", other, 0, 1))
    await world.settle()
    launch.order(2, (VANITY, algorithm, 1, 2), ("fresh/one", other, 0, 1))
    seen = set()
    for _ in range(14):
        await world.step()
        assert len(await launch.routed()) >= 2, "never fewer ready than wanted"
        seen.add((await launched(world, launch)).satellite_version)
    assert seen == {1, 2}
    assert await launch.state() is LaunchState.DEPLOYED
    serving = world.serving()
    assert serving == {algorithm.revisions[1].id: 2, other.revisions[0].id: 1}
    assert [one.vanity_url for one in (await launched(world, launch)).entries] == ["foo/bar", "fresh/one"]
    assert sum(len(worker.replicas) for worker in workers) == 3


async def test_a_version_that_does_not_start_is_rolled_back_with_its_reason(world: World) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    served = await launch.routed()
    worker.breaks[algorithm.revisions[1].id] = "load() raised ValueError: no model"
    bad = launch.order(2, (VANITY, algorithm, 1, 2))
    for _ in range(90):
        await world.step()
        assert await launch.routed() == served, "the old ones serve all the time"
    status = await launch.status()
    assert (status.state, status.satellite_version, status.serving_version) == (LaunchState.ROLLED_BACK, 2, 1)
    assert "load() raised ValueError: no model" in (status.reason or "")
    assert world.serving() == {algorithm.revisions[0].id: 2}
    async with world.deployer.database.transaction() as session:
        found = await launch_listings.deployment(session, bad.deployment_id)
        assert found is not None
        assert (found[0].state, found[0].reason) == (LaunchState.ROLLED_BACK, status.reason)
    launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    assert (await launch.status()).state is LaunchState.DEPLOYED


async def test_without_room_it_waits_with_the_reason_and_goes_on_when_room_comes(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1", memory_mib=100)
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    status = await launch.status()
    assert (status.state, status.ready, status.desired) == (LaunchState.DEPLOYING, 1, 2)
    assert status.entries[0].reason == "no worker has 100 MiB of memory free"
    await world.settle(60)
    status = await launch.status()
    assert status.state is LaunchState.FAILED
    assert "no worker has 100 MiB of memory free" in (status.reason or "")
    world.add_worker("w2")
    await world.settle()
    assert (await launch.status()).state is LaunchState.DEPLOYED


async def test_labels_say_where(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1").labels = {"region": "us"}
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2), labels={"region": "eu"})
    await world.settle()
    assert (await launch.status()).entries[0].reason == "no worker runs python3 with the labels region=eu"
    there = world.add_worker("w2")
    there.labels = {"region": "eu", "disk": "ssd"}
    await world.settle()
    assert len(there.replicas) == 2


async def test_two_regions_at_once_and_none_takes_what_belongs_to_the_other(world: World) -> None:
    """The same algorithm here and there, one label apart; also when one side has lost its last worker."""
    algorithm = entry(gpus=1)
    world.deployer.learn(algorithm)
    sides = {name: world.add_worker(name, gpus=4) for name in ("site", "cloud")}
    for name, worker in sides.items():
        worker.labels = {"region": name}
    await world.step()
    launches = {name: Launcher(world) for name in sides}
    for name, launch in launches.items():
        launch.order(1, (VANITY, algorithm, 0, 2), labels={"region": name})
    await world.settle()
    for name, launch in launches.items():
        status = await launch.status()
        assert (status.state, status.ready) == (LaunchState.DEPLOYED, 2)
        rows = [row for row in await world.deployer.replicas() if row.worker_id == name]
        assert {row.deployment_id for row in rows} == {entry_id(launch.id, VANITY)}
    lost = sides["site"]
    await world.settle(30, silent=[lost])
    status = await launches["site"].status()
    assert (status.ready, status.entries[0].reason) == (0, "no worker runs python3 with the labels region=site")
    assert len(sides["cloud"].replicas) == 2
    another = world.add_worker("another", gpus=1)
    another.labels = {"region": "site"}
    await world.settle(silent=[lost])
    status = await launches["site"].status()
    assert (status.ready, status.entries[0].reason) == (1, "no worker has 1 GPU free")
    await world.settle()
    assert (await launches["site"].status()).ready == 2


async def test_a_killed_replica_and_a_lost_worker_are_made_up_for(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    first, second = world.add_worker("w1"), world.add_worker("w2")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    first.replicas.clear()
    await world.settle()
    assert (len(first.replicas) + len(second.replicas), len(await launch.routed())) == (2, 2)
    await world.settle(25, silent=[first])
    assert len(second.replicas) == 2
    assert {one.worker_id for one in await world.deployer.replicas()} == {"w2"}
    assert await launch.state() is LaunchState.DEPLOYED


async def test_paused_nothing_starts_or_ends_and_stopping_ends_all(world: World) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    before = set(worker.replicas)
    second = launch.order(2, (VANITY, algorithm, 1, 2))
    launch.tell(second.model_copy(update={"paused": True}))
    await world.settle(80)
    assert (set(worker.replicas), await launch.state()) == (before, LaunchState.DEPLOYING)
    launch.tell(second)
    await world.settle(12)
    assert await launch.state() is LaunchState.DEPLOYED
    launch.order(2, action=OrderAction.STOP)
    await world.settle()
    status = await launch.status()
    assert (status.state, status.serving_version, worker.replicas) == (LaunchState.STOPPED, None, {})
    assert await answering(world) == {}, "nor does anybody keep the keys that it accepted"


async def test_side_by_side_the_older_launch_has_the_plain_address(world: World) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    prod, dev = Launcher(world), Launcher(world)
    prod.order(1, (VANITY, algorithm, 0, 1))
    await world.settle(4)
    dev.order(2, (VANITY, algorithm, 1, 1))
    await world.settle()
    assert ((await launched(world, prod)).plain, (await launched(world, dev)).plain) == ((VANITY,), ())
    assert world.serving() == {algorithm.revisions[0].id: 1, algorithm.revisions[1].id: 1}
    prod.order(1, action=OrderAction.STOP)
    await world.settle()
    assert (await launched(world, dev)).plain == (VANITY,)


async def test_another_deployer_goes_on_wherever_one_died(world: World, deployer_url: str) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    newest = launch.order(2, (VANITY, algorithm, 1, 2))
    dead = world.deployer
    for _ in range(6):
        await world.step()
        assert len(await launch.routed()) >= 2
        async with deployer_on(deployer_url, world.clock) as successor:
            successor.learn(algorithm)
            launch.tell(newest, successor)
            world.deployer = successor
            await world.step()
            await world.step()
        world.deployer = dead
    assert world.serving() == {algorithm.revisions[1].id: 2}
    assert await launch.state() is LaunchState.DEPLOYED


async def test_a_later_order_takes_the_place_of_one_that_is_under_way(world: World) -> None:
    algorithm = entry(revisions=3)
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    first = launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    worker.slow = True
    second = launch.order(2, (VANITY, algorithm, 1, 1))
    await world.settle(4)
    worker.slow = False
    third = launch.order(3, (VANITY, algorithm, 2, 1))
    await world.settle(10)
    async with world.deployer.database.transaction() as session:
        found = [await launch_listings.deployment(session, one.deployment_id) for one in (first, second, third)]
    states = [one[0].state for one in found if one is not None]
    assert states == [LaunchState.DEPLOYED, LaunchState.SUPERSEDED, LaunchState.DEPLOYED]
    assert world.serving() == {algorithm.revisions[2].id: 1}


async def test_replicas_of_a_launch_are_its_own(world: World) -> None:
    """A revision that is called by its own name has replicas besides those of launches."""
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 1))
    world.calls = {algorithm.revisions[0].id: 1}
    await world.settle()
    rows: list[Replica] = await world.deployer.replicas(algorithm.revisions[0].id)
    assert {row.deployment_id for row in rows} == {entry_id(launch.id, VANITY), algorithm.revisions[0].id}
