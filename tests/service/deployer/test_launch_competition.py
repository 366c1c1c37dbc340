"""Launches that several processes of the deployer bring on at the same time."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from sqlalchemy import text
from structlog.testing import capture_logs

from libs.common.contracts.launches import KEYS_PREFIX, LAUNCH_PREFIX, LaunchState
from services.deployer import store
from services.deployer.models import Launch, LaunchDeployment
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


async def test_a_launch_whose_steps_cannot_be_written_holds_up_no_other(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    world.add_worker("w1")
    await world.step()
    broken, launch = Launcher(world, UUID(int=1)), Launcher(world)
    first = broken.order(1, (VANITY, algorithm, 0, 1))
    await world.settle()
    in_the_way = uuid4()
    async with world.deployer.database.transaction() as session:
        known = await session.get_one(LaunchDeployment, first.deployment_id)
        values = {"id": in_the_way, "launch_id": broken.id, "number": 2, "order": known.order, "state": known.state}
        moments = {"started_at": known.started_at, "changed_at": known.changed_at}
        session.add(LaunchDeployment(**values, **moments))
    broken.order(2, (VANITY, algorithm, 0, 2))
    launch.order(1, ("other/one", algorithm, 0, 1))
    with capture_logs() as logged:
        await world.settle()
    assert {(one["event"], one["launch_id"]) for one in logged} == {("launch_not_brought_on", str(broken.id))}
    assert await launch.state() is LaunchState.DEPLOYED
    assert ((await broken.status()).number, len(await broken.routed())) == (1, 1), "it stays as it was"
    async with world.deployer.database.transaction() as session:
        await session.delete(await session.get_one(LaunchDeployment, in_the_way))
    await world.settle()
    assert ((await broken.status()).number, len(await broken.routed())) == (2, 2)


async def test_a_launch_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    algorithm = entry()
    world.deployer.learn(algorithm)
    worker = world.add_worker("w1")
    await world.step()
    worker.slow = True
    broken, launch = Launcher(world, UUID(int=1)), Launcher(world)
    broken.order(1, (VANITY, algorithm, 0, 1))
    await world.step()
    async with world.deployer.database.transaction() as session:
        row = await session.get_one(Launch, broken.id)
        whole, row.order = row.order, {}
    launch.order(1, ("other/one", algorithm, 0, 1))
    worker.slow = False
    with capture_logs() as logged:
        await world.settle()
    assert {(one["event"], one["launch_id"]) for one in logged} == {("launch_not_brought_on", str(broken.id))}
    assert await launch.state() is LaunchState.DEPLOYED
    async with world.deployer.database.transaction() as session:
        (await session.get_one(Launch, broken.id)).order = whole
    await world.settle()
    assert await broken.state() is LaunchState.DEPLOYED
