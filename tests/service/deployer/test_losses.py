"""Workers, buses, deployers and databases that go away, and come back."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from libs.common.bus import BusUnavailable, MemoryBus
from libs.common.contracts.messages import Message
from libs.common.contracts.replicas import ReplicaState
from services.deployer import workers
from services.deployer.models import Worker
from tests.service.deployer.world import HISTORY, LEASE, Clock, World, deployer_on, entry
from tests.support.postgres import Postgres


@pytest.fixture
async def serving(world: World) -> World:
    """Two workers, and one replica that is ready on one of them."""
    echo = entry()
    world.deployer.learn(echo)
    world.add_worker("a")
    world.add_worker("b")
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(20)
    return world


async def test_a_lost_worker_is_replaced_within_a_lease_and_fenced_when_it_comes_back(serving: World) -> None:
    lost, other = sorted(serving.workers, key=lambda worker: -len(worker.replicas))
    (revision,) = serving.calls
    (before,) = await serving.deployer.routed(revision)
    for _ in range(int(LEASE.total_seconds()) + 3):
        await serving.step(silent=[lost])
    assert other.serving() == [revision]
    (after,) = await serving.deployer.routed(revision)
    assert after in other.replicas
    assert lost.serving() == [revision], "it still runs there, and nobody calls it"
    await serving.step()
    assert lost.replicas == {}
    assert await serving.deployer.routed(revision) == {after}
    (ended,) = [row for row in await serving.deployer.replicas(live=False) if row.id == before]
    assert ended.state is ReplicaState.FAILED
    assert ended.reason == "its worker is lost: it stopped reporting"
    assert (await serving.deployer.deployment(revision)).failures == 0


async def test_the_only_worker_may_be_away_for_long_and_finds_its_replicas_as_they_were(world: World) -> None:
    echo = entry()
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(4)
    before = await world.deployer.routed(echo.revisions[0].id)
    for _ in range(60):
        await world.step(silent=[worker])
    await world.step()
    assert await world.deployer.routed(echo.revisions[0].id) == before
    assert set(worker.replicas) == before


async def test_what_is_on_the_only_worker_is_not_planned_over_and_over_while_it_is_away(world: World) -> None:
    echo = entry(min_replicas=1)
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    await world.settle(20)
    for _ in range(25):
        await world.step(silent=[worker])
    looked = (await world.deployer.deployment(echo.revisions[0].id)).changed_at
    world.clock.forward(1)
    await world.deployer.reconcile()
    assert (await world.deployer.deployment(echo.revisions[0].id)).changed_at <= looked


async def test_a_restart_after_all_leases_lapsed_ends_nothing(serving: World, deployer_url: str) -> None:
    (revision,) = serving.calls
    before = await serving.deployer.routed(revision)
    serving.clock.forward(600)
    async with deployer_on(deployer_url, serving.clock) as restarted:
        restarted.learn(*serving.deployer.learned.values())
        serving.deployer = restarted
        for worker in serving.workers[:1]:
            await restarted.take_report(worker)
        await restarted.reconcile()
        assert await restarted.routed(revision) == before
        await serving.settle(20)
        assert await restarted.routed(revision) == before
        assert serving.serving() == {revision: 1}


async def test_a_gap_in_watching_counts_like_a_restart(serving: World) -> None:
    """The process was suspended, or the database was away: workers could not have been heard."""
    (revision,) = serving.calls
    before = await serving.deployer.routed(revision)
    serving.clock.forward(600)
    silent = [worker for worker in serving.workers if worker.replicas]
    other = next(worker for worker in serving.workers if worker not in silent)
    await serving.deployer.take_report(other)
    await serving.deployer.reconcile()
    assert await serving.deployer.routed(revision) == before
    for _ in range(int(LEASE.total_seconds()) + 4):
        await serving.step(silent=silent)
    assert other.serving() == [revision]


async def test_a_worker_that_lost_its_replicas_gets_new_ones(serving: World) -> None:
    (revision,) = serving.calls
    (before,) = await serving.deployer.routed(revision)
    worker = next(worker for worker in serving.workers if worker.replicas)
    worker.reboot()
    await serving.deployer.take_report(worker)
    assert await serving.deployer.routes() == {}
    await serving.settle(4)
    assert serving.serving() == {revision: 1}
    (ended,) = [row for row in await serving.deployer.replicas(live=False) if row.id == before]
    assert ended.reason == "its worker does not know it any more: it ended while the worker was away"


async def test_a_worker_whose_process_restarts_keeps_its_replicas(serving: World) -> None:
    (revision,) = serving.calls
    before = await serving.deployer.routed(revision)
    for worker in serving.workers:
        worker.restart()
    await serving.settle(3)
    assert await serving.deployer.routed(revision) == before


async def test_a_report_of_a_workers_former_run_that_comes_late_changes_nothing(serving: World) -> None:
    (revision,) = serving.calls
    (worker,) = [one for one in serving.workers if one.replicas]
    late = worker.report().model_copy(update={"replicas": ()})
    before = await serving.deployer.routed(revision)
    worker.restart()
    await serving.step()
    await serving.deployer.answer(worker, late)
    assert await serving.deployer.routed(revision) == before
    for _ in range(3):
        await serving.step()
    assert await serving.deployer.routed(revision) == before, "and the worker is heard on"


async def test_a_run_that_came_late_itself_is_heard_after_a_lease(serving: World) -> None:
    """Its first report came after one of the next run, which then seems to be the former one."""
    (worker,) = [one for one in serving.workers if one.replicas]
    early = worker.report().model_copy(update={"run": "early", "sequence": 1})
    await serving.step()
    await serving.deployer.answer(worker, early)
    await serving.settle(int(LEASE.total_seconds()) + 2)
    async with serving.deployer.database.transaction() as session:
        assert (await session.get_one(Worker, worker.id)).run == worker.run


async def test_a_report_that_was_overtaken_changes_nothing(serving: World) -> None:
    (revision,) = serving.calls
    worker = next(worker for worker in serving.workers if worker.replicas)
    old = worker.report().model_copy(update={"replicas": ()})
    await serving.deployer.take_report(worker)
    orders = await serving.deployer.answer(worker, old)
    assert [order.spec.revision_id for order in orders.replicas] == [revision]
    assert len(await serving.deployer.routed(revision)) == 1


async def test_a_worker_that_is_drained_hands_over_without_a_gap_and_takes_nothing_new(serving: World) -> None:
    (revision,) = serving.calls
    worker = next(worker for worker in serving.workers if worker.replicas)
    await _set_draining(serving, worker.id, draining=True)
    for _ in range(6):
        await serving.step()
        assert await serving.deployer.routed(revision)
    assert worker.replicas == {}
    assert serving.serving() == {revision: 1}
    serving.calls = {revision: 3}
    await serving.settle(4)
    assert worker.replicas == {}
    await _set_draining(serving, worker.id, draining=False)
    serving.calls = {revision: 4}
    await serving.settle(4)
    assert len(worker.replicas) == 1


async def test_the_only_worker_is_emptied_when_it_is_drained_and_callers_are_told(world: World) -> None:
    echo = entry()
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(4)
    await _set_draining(world, "a", draining=True)
    await world.settle(10)
    assert worker.replicas == {}
    (route,) = (await world.deployer.routes()).values()
    assert route.failure == "all connected workers are being drained"
    await _set_draining(world, "a", draining=False)
    await world.settle(4)
    assert len(worker.serving()) == 1


async def test_a_call_under_way_keeps_its_replica_until_it_ended(serving: World) -> None:
    (revision,) = serving.calls
    worker = next(worker for worker in serving.workers if worker.replicas)
    worker.holds_drains = True
    (before,) = await serving.deployer.routed(revision)
    await _set_draining(serving, worker.id, draining=True)
    await serving.settle(30)
    assert before in worker.replicas
    assert before not in await serving.deployer.routed(revision)
    worker.holds_drains = False
    await serving.settle(3)
    assert worker.replicas == {}


class BrokenBus(MemoryBus):
    """Refuses to send."""

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        raise BusUnavailable("no broker")


class HangingBus(MemoryBus):
    """Never comes to an end of sending."""

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("bus", [BrokenBus(), HangingBus()], ids=["refuses", "hangs"])
async def test_without_a_broker_reports_bring_the_orders(deployer_url: str, clock: Clock, bus: MemoryBus) -> None:
    async with deployer_on(deployer_url, clock, bus) as deployer:
        world = World(deployer, [], clock)
        echo = entry()
        deployer.learn(echo)
        world.add_worker("a")
        world.calls = {echo.revisions[0].id: 1}
        await world.settle(4)
        assert len(await deployer.routed(echo.revisions[0].id)) == 1


async def test_a_killed_database_comes_back_to_the_same_replicas(external_postgres: Postgres, clock: Clock) -> None:
    url = await external_postgres.create_database(HISTORY)
    async with deployer_on(url, clock) as deployer:
        world = World(deployer, [], clock)
        echo = entry()
        revision = echo.revisions[0].id
        deployer.learn(echo)
        world.add_worker("a")
        world.add_worker("b")
        world.calls = {revision: 2}
        await world.settle(20)
        before = await deployer.routed(revision)
        assert len(before) == 2
        await asyncio.to_thread(external_postgres.kill)
        world.clock.forward(300)
        with pytest.raises((OSError, DBAPIError)):
            await deployer.reconcile()
        await asyncio.to_thread(external_postgres.start)
        await deployer.reconcile()
        await world.settle(20)
        assert await deployer.routed(revision) == before
        assert world.serving() == {revision: 2}


async def _set_draining(world: World, worker_id: str, *, draining: bool) -> None:
    async with world.deployer.database.transaction() as session:
        await workers.set_draining(session, worker_id, draining, world.clock.now)
