"""Launches that several processes of the deployer bring on at the same time."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from libs.common.contracts.launches import KEYS_PREFIX, LAUNCH_PREFIX
from services.deployer import store
from services.deployer.turn import Turn
from tests.service.deployer.test_launches import VANITY, Launcher, answering
from tests.service.deployer.world import Deployer, World, deployer_on, entry
from tests.support.eventually import eventually


async def _publish(deployer: Deployer) -> None:
    async with deployer.database.transaction() as session:
        await deployer.launches.publish(session)


async def _somebody_waits(deployer: Deployer) -> bool:
    """For what another transaction has locked."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with deployer.database.transaction() as session:
        return bool((await session.execute(text(waiting))).scalar_one())


async def test_who_publishes_at_the_same_time_takes_back_nothing(world: World, deployer_url: str) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch, other = Launcher(world), Launcher(world)
    first = launch.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    async with deployer_on(deployer_url, world.clock) as second:
        launch.tell(first, second)
        other.order(2, ("other/one", algorithm, 0, 1))
        async with (
            world.deployer.database.transaction() as session
        ):  # as the planner does, and its commit takes a while
            decided = await world.deployer.launches.decide(
                session, {other.id}, Turn(world.clock.now, world.clock.now)
            )
            locked = await store.lock(session, [key for one in decided for key in one.entry_ids])
            await world.deployer.launches.carry_out(session, decided, locked, world.clock.now)
            await world.deployer.launches.publish(session)
            theirs = asyncio.create_task(_publish(second))
            await eventually(lambda: _somebody_waits(second))
        await theirs
    expected = {f"{LAUNCH_PREFIX}{launch.id}", f"{LAUNCH_PREFIX}{other.id}"}
    assert (await answering(world)).keys() == {*expected, f"{KEYS_PREFIX}digest1", f"{KEYS_PREFIX}digest2"}


async def test_keys_that_came_late_are_published_without_news_of_the_launch(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    launch = Launcher(world)
    said = launch.order(1, (VANITY, algorithm, 0, 1))
    world.deployer.orders.apply(f"{KEYS_PREFIX}{said.keys}", None)
    await world.settle()
    assert (await answering(world)).keys() == {f"{LAUNCH_PREFIX}{launch.id}"}
    launch.tell(said)
    await world.settle(4)
    await world.step(60)
    assert f"{KEYS_PREFIX}{said.keys}" in await answering(world)
