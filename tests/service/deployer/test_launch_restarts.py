"""Launches when a deployer comes back: with what it heard before, and after a time in which nobody watched."""

from __future__ import annotations

from libs.common.contracts.launches import LaunchState
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
