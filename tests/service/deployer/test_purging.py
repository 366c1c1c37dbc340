from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from libs.common.contracts.jobs import OrdersChanged, worker_queue
from services.deployer.hints import Hints
from services.deployer.models import Deployment, Event, Worker
from services.deployer.purge import Purge
from services.deployer.settings import DeployerSettings
from tests.service.deployer.world import World, entry


@pytest.fixture
def purge(world: World, tmp_path: Path) -> Purge:
    settings = DeployerSettings(data_dir=tmp_path, history_seconds=60, forget_seconds=3600, events_kept=10)
    return Purge(world.deployer.database, Hints(world.deployer.bus), settings, clock=world.clock)


async def _count(world: World, kind: type[Deployment | Event | Worker]) -> int:
    async with world.deployer.database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(kind))).scalar_one()


async def test_replicas_that_ended_are_forgotten_after_a_while_and_live_ones_never(
    world: World, purge: Purge
) -> None:
    echo = entry()
    world.deployer.learn(echo)
    world.add_worker("a")
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(4)
    world.deployer.learn(echo.model_copy(update={"secrets_version": 1}))
    await world.settle(6)
    assert len(await world.deployer.replicas(live=False)) == 2
    await purge.once()
    assert len(await world.deployer.replicas(live=False)) == 2
    world.clock.forward(61)
    await purge.once()
    (left,) = await world.deployer.replicas(live=False)
    assert left.secrets_version == 1


async def test_the_newest_events_of_each_deployment_are_kept(world: World, purge: Purge) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    worker.breaks[revision] = "bad"
    world.calls = {revision: 1}
    await world.settle(40)
    before = await world.deployer.events(revision)
    assert len(before) > 10
    await purge.once()
    assert await world.deployer.events(revision) == before[-10:]


async def test_what_nobody_needed_and_who_was_silent_for_long_is_forgotten(world: World, purge: Purge) -> None:
    echo = entry(idle_seconds=1)
    world.deployer.learn(echo)
    world.add_worker("a")
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(4)
    world.calls = {}
    await world.settle(6)
    await world.deployer.bus.send(worker_queue("a"), OrdersChanged(worker_id="a"))
    world.clock.forward(3500)
    await purge.once()
    assert (await _count(world, Deployment), await _count(world, Worker)) == (1, 1)
    world.clock.forward(120)
    await purge.once()
    assert (await _count(world, Deployment), await _count(world, Worker)) == (0, 0)
    assert await _count(world, Event) == 0


async def test_what_serves_is_not_forgotten_however_old_it_is(world: World, purge: Purge) -> None:
    echo = entry(min_replicas=1)
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    await world.settle(4)
    world.clock.forward(100_000)
    await purge.once()
    assert (await _count(world, Deployment), await _count(world, Worker)) == (1, 1)
    await world.settle(2)
    assert len(worker.serving()) == 1
