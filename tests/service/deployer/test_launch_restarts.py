"""Launches when a deployer comes back: with what it heard before, and after a time in which nobody watched."""

from __future__ import annotations

from libs.common.contracts.launches import LaunchState, OrderAction, entry_id
from services.deployer.models import LaunchDeployment
from tests.service.deployer.test_launches import VANITY, Launcher
from tests.service.deployer.world import World, deployer_on, entry


async def test_orders_of_before_a_pause_do_not_undo_it(world: World, deployer_url: str) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    worker, _ = world.add_worker("w1"), world.add_worker("w2")
    await world.step()
    launch = Launcher(world)
    first = launch.order(1, (VANITY, algorithm, 0, 2))
    await world.settle()
    launch.tell(first.model_copy(update={"paused": True, "revision": 1}))
    await world.step()
    worker.reboot()
    await world.settle(3)
    async with deployer_on(deployer_url, world.clock) as again:
        again.learn(algorithm)
        launch.tell(first, again)
        world.deployer = again
        await world.settle(8)
        status = await launch.status()
        assert (status.paused, worker.replicas) == (True, {}), "nothing is started in the place of what is gone"
        launch.tell(first.model_copy(update={"revision": 2}), again)
        await world.settle(8)
        assert (await launch.status()).ready == 2


async def test_an_older_order_does_not_take_the_place_of_a_newer_one(world: World, deployer_url: str) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    first = launch.order(1, (VANITY, algorithm, 0, 2)).model_copy(update={"paused": True, "revision": 1})
    await world.settle()
    launch.tell(first)
    await world.step()
    second = launch.order(2, (VANITY, algorithm, 1, 2))
    await world.settle(2)
    async with deployer_on(deployer_url, world.clock) as again:
        again.learn(algorithm)
        launch.tell(first, again)
        world.deployer = again
        await world.settle(8)
        status = await launch.status()
        assert (status.number, status.paused, status.state) == (2, False, LaunchState.DEPLOYED)
        async with again.database.transaction() as session:
            row = await session.get_one(LaunchDeployment, second.deployment_id)
            assert row.state is LaunchState.DEPLOYED


async def test_an_older_catalog_ends_nothing_and_replaces_nothing(world: World, deployer_url: str) -> None:
    """The registry cannot be reached, and the copy on disk is from before the last builds and edits."""
    whole = entry(revisions=2, secrets_version=2, idle_seconds=20)
    older = whole.model_copy(update={"revisions": whole.revisions[:1], "secrets_version": 1})
    world.deployer.learn(older)
    world.deployer.learn(whole)
    world.add_worker("w1")
    await world.step()
    launch, other = Launcher(world), Launcher(world)
    launch.order(1, (VANITY, whole, 1, 2))
    other.order(1, (VANITY, whole, 0, 1))
    on_demand = whole.revisions[1].id
    world.calls = {on_demand: 1}
    await world.settle()
    before = {row.id for row in await world.deployer.replicas()}
    assert len(before) == 4
    async with deployer_on(deployer_url, world.clock) as again:
        again.learn(older)
        world.deployer = again
        again.algorithms[on_demand] = whole.id
        await world.settle(30)
        assert {row.id for row in await again.replicas()} == before
        assert len(await launch.routed()) == 2
        stop = launch.order(1, (VANITY, whole, 1, 2), action=OrderAction.STOP)
        assert stop.number == 2
        await world.settle()
        assert await launch.state() is LaunchState.STOPPED, "what was asked for is done"
        again.learn(whole)
        world.calls = {}
        await world.settle(80)
        assert {row.deployment_id for row in await again.replicas()} == {entry_id(other.id, VANITY)}
        again.unlearn(whole.id)
        await world.settle()
        assert await again.replicas() == []


async def test_an_order_that_arrives_before_the_catalog_is_carried_out_with_it(world: World) -> None:
    algorithm = entry()
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle(4)
    world.deployer.learn(algorithm)
    await world.settle()
    assert await launch.state() is LaunchState.DEPLOYED


async def test_a_deadline_waits_while_nobody_watches(world: World) -> None:
    """The deployer is away for longer than the deadline, and replicas get ready meanwhile, or a while later."""
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    launch, other = Launcher(world), Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    worker.slow = True
    launch.order(2, (VANITY, algorithm, 1, 1))
    other.order(1, ("other/one", algorithm, 1, 1))
    await world.settle(5)
    begun = set(worker.replicas)
    world.clock.forward(300)
    await world.settle(30)
    assert {await launch.state(), await other.state()} == {LaunchState.DEPLOYING}
    assert set(worker.replicas) == begun
    worker.slow = False
    await world.settle()
    assert {await launch.state(), await other.state()} == {LaunchState.DEPLOYED}


async def test_a_deadline_that_passed_is_kept_to_once_somebody_watches(world: World) -> None:
    algorithm = entry(revisions=2)
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    worker.slow = True
    launch.order(2, (VANITY, algorithm, 1, 1))
    await world.settle(5)
    world.clock.forward(300)
    await world.settle(80)
    assert await launch.state() is LaunchState.ROLLED_BACK


async def test_an_order_that_no_worker_could_fetch_is_not_overdue(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    launch.order(1, (VANITY, algorithm, 0, 1))
    await world.deployer.reconcile()
    (placed,) = await world.deployer.replicas()
    world.clock.forward(40)
    await world.deployer.reconcile()
    await world.settle(20)
    assert await world.deployer.routed(placed.deployment_id) == {placed.id}
