"""From demand to replicas and back, over real rows."""

from __future__ import annotations

from libs.common.contracts.jobs import OrdersChanged, worker_queue
from libs.common.contracts.replicas import ReplicaState
from services.deployer import listings
from services.deployer.view import Room
from tests.service.deployer.world import World, entry
from tests.support.eventually import eventually


async def test_a_call_gets_a_replica_and_a_route(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {revision: 1}
    await world.settle(4)
    assert worker.serving() == [revision]
    (row,) = await world.deployer.replicas()
    assert row.state is ReplicaState.READY
    assert await world.deployer.routed(revision) == {row.id}
    (route,) = (await world.deployer.routes()).values()
    assert route.replicas[0].address.token == "secret-token"


async def test_orders_are_hinted_to_the_worker_and_the_route_follows_the_ready_report(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    await world.step()
    hints: list[OrdersChanged] = []

    async def hear(hint: OrdersChanged) -> None:
        hints.append(hint)

    async with world.deployer.bus.consume(worker_queue("a"), hear, accepts=[OrdersChanged]):
        await world.deployer.call({revision: 1})
        await world.deployer.reconcile()
        await eventually(lambda: hints)
    (row,) = await world.deployer.replicas()
    assert hints[0].replica_ids == (row.id,)
    await world.deployer.take_report(worker)
    await world.deployer.take_report(worker)
    assert not await world.deployer.routed(revision)
    await world.deployer.take_report(worker)
    assert await world.deployer.routed(revision) == {row.id}


async def test_what_is_not_called_any_more_ends_after_its_idle_time_and_its_route_with_it(world: World) -> None:
    echo = entry(idle_seconds=20)
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {revision: 1}
    await world.settle(4)
    world.calls = {}
    await world.settle(18)
    assert worker.serving() == [revision]
    await world.settle(8)
    assert worker.replicas == {}
    assert await world.deployer.routes() == {}
    row = await world.deployer.deployment(revision)
    assert (row.need, row.wanted, row.due_at) == (0, 0, None)


async def test_a_gateway_that_is_silent_has_no_demand_after_a_while(world: World) -> None:
    echo = entry(idle_seconds=1)
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    await world.deployer.call({revision: 1}, gateway="dead")
    for _ in range(12):
        world.clock.forward(1)
        await world.deployer.reconcile()
        await world.deployer.take_report(worker)
    assert worker.replicas == {}


async def test_demand_of_all_gateways_adds_up_within_the_limit(world: World) -> None:
    echo = entry(max_replicas=3)
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    await world.step()
    await world.deployer.call({revision: 1}, gateway="one")
    await world.deployer.call({revision: 1}, gateway="two")
    await world.deployer.reconcile()
    assert len(await world.deployer.replicas()) == 2
    await world.deployer.call({revision: 5}, gateway="two")
    await world.deployer.reconcile()
    await world.deployer.take_report(worker)
    assert worker.serving() == [revision] * 3


async def test_the_newest_version_is_kept_warm_and_the_one_before_ends(world: World) -> None:
    echo = entry(revisions=1, min_replicas=1, idle_seconds=5)
    world.deployer.learn(echo)
    world.add_worker("a")
    await world.settle(3)
    assert world.serving() == {echo.revisions[0].id: 1}
    newer = entry(revisions=2, min_replicas=1, idle_seconds=5, algorithm_id=echo.id)
    newer = newer.model_copy(update={"revisions": (echo.revisions[0], newer.revisions[1])})
    world.deployer.learn(newer)
    await world.settle(3)
    assert world.serving() == {echo.revisions[0].id: 1, newer.revisions[1].id: 1}
    await world.settle(10)
    assert world.serving() == {newer.revisions[1].id: 1}


async def test_a_changed_secret_replaces_replicas_without_a_gap(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    world.add_worker("a")
    world.calls = {revision: 2}
    await world.settle(4)
    before = await world.deployer.routed(revision)
    assert len(before) == 2
    world.deployer.learn(echo.model_copy(update={"secrets_version": 1}))
    for _ in range(20):
        await world.step()
        assert len(await world.deployer.routed(revision)) >= 2
    after = await world.deployer.routed(revision)
    assert len(after) == 2
    assert not after & before
    assert {row.secrets_version for row in await world.deployer.replicas()} == {1}


async def test_a_deleted_algorithm_is_drained_whole(world: World) -> None:
    echo = entry()
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {echo.revisions[0].id: 2}
    await world.settle(4)
    world.deployer.unlearn(echo.id)
    await world.deployer.reconcile()
    assert await world.deployer.routes() == {}
    await world.settle(4)
    assert worker.replicas == {}


async def test_demand_that_comes_before_the_catalog_is_met_when_the_catalog_comes(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    worker = world.add_worker("a")
    world.deployer.algorithms[revision] = echo.id
    await world.deployer.call({revision: 1})
    await world.deployer.reconcile()
    assert await world.deployer.replicas() == []
    world.deployer.learn(echo)
    world.calls = {revision: 1}
    await world.settle(3)
    assert worker.serving() == [revision]


async def test_nothing_is_planned_while_the_catalog_is_not_whole(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {revision: 1}
    await world.settle(3)
    world.deployer.copy.complete = False
    world.deployer.unlearn(echo.id)
    await world.settle(3)
    assert worker.serving() == [revision]
    world.deployer.learn(echo)
    world.deployer.copy.complete = True
    await world.settle(3)
    assert worker.serving() == [revision]
    assert len(await world.deployer.replicas(live=False)) == 1


async def test_a_failing_start_is_told_with_its_reason_and_tried_less_and_less_often(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    worker.breaks[revision] = "ModuleNotFoundError: No module named 'nmupy'"
    world.calls = {revision: 1}
    told = 0
    for _ in range(40):
        await world.step()
        route = (await world.deployer.routes()).get(revision)
        if route is not None:
            assert route.replicas == ()
            assert route.failure == "ModuleNotFoundError: No module named 'nmupy'"
            told += 1
    attempts = await world.deployer.replicas(revision, live=False)
    assert 4 <= len(attempts) <= 6
    assert told > 20
    row = await world.deployer.deployment(revision)
    assert row.failures >= 4
    del worker.breaks[revision]
    await world.settle(60)
    assert len(await world.deployer.routed(revision)) == 1


async def test_a_reason_that_no_database_can_keep_is_kept_as_far_as_it_can(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    worker.breaks[revision] = "bytes \x00 in its name \ud800" + "!" * 5000
    world.calls = {revision: 1}
    await world.settle(4)
    (ended,) = await world.deployer.replicas(live=False)
    assert ended.reason is not None
    assert ended.reason.startswith("bytes \ufffd in its name ?!!!")
    assert len(ended.reason) == 2000


async def test_a_failure_is_told_no_longer_once_a_new_attempt_is_under_way(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    worker.breaks[revision] = "bad"
    world.calls = {revision: 1}
    while not await world.deployer.routes():
        await world.step()
    worker.slow = True
    worker.breaks.clear()
    await world.settle(3)
    assert await world.deployer.routes() == {}
    assert [row.state for row in await world.deployer.replicas()] == [ReplicaState.STARTING]


async def test_a_replica_that_crashes_is_started_again_at_once(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    worker = world.add_worker("a")
    world.calls = {revision: 1}
    await world.settle(4)
    (crashed,) = worker.replicas.values()
    crashed.state, crashed.reason = ReplicaState.FAILED, "killed by signal 11"
    await world.deployer.take_report(worker)
    assert await world.deployer.routes() == {}
    await world.deployer.reconcile()
    (row,) = await world.deployer.replicas()
    assert row.state is ReplicaState.WANTED


async def test_no_room_is_told_after_a_grace_and_forgotten_when_there_is_some(world: World) -> None:
    echo = entry(memory_mib=600)
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    world.add_worker("small", memory_mib=500)
    world.calls = {revision: 1}
    await world.settle(4)
    assert await world.deployer.routes() == {}
    await world.settle(4)
    (route,) = (await world.deployer.routes()).values()
    assert route.failure == "no worker is large enough: a replica needs 600 MiB of memory"
    large = world.add_worker("large")
    await world.settle(4)
    assert large.serving() == [revision]
    assert "pending: no worker is large enough: a replica needs 600 MiB of memory" in (
        await world.deployer.events(revision)
    )


async def test_gpus_are_counted_and_those_that_are_lacking_are_told_of(world: World) -> None:
    training, echo = entry(gpus=2, cpus=0.5), entry()
    revision = training.revisions[0].id
    world.deployer.learn(training, echo)
    without, with_gpus = world.add_worker("without"), world.add_worker("with", gpus=3)
    world.calls = {revision: 2, echo.revisions[0].id: 2}
    await world.settle(4)
    assert without.serving() == [echo.revisions[0].id]
    assert sorted(with_gpus.serving(), key=str) == sorted([revision, echo.revisions[0].id], key=str)
    (spec,) = [one.spec for one in with_gpus.replicas.values() if one.spec.revision_id == revision]
    assert (spec.gpus, spec.cpus) == (2, 0.5)
    assert "pending: no worker has 2 GPUs free" in await world.deployer.events(revision)
    async with world.deployer.database.transaction() as session:
        used = await listings.worker_usage(session, ["with", "without"])
    assert used["with"] == Room(slots=2, memory_mib=200, millicpus=500, gpus=2)
    assert used["without"] == Room(slots=1, memory_mib=100)
    with_gpus.gpus = 4
    await world.settle(4)
    assert with_gpus.serving().count(revision) == 2


async def test_a_new_worker_is_used_at_once_by_those_that_wait_for_room(world: World) -> None:
    echo = entry()
    world.deployer.learn(echo)
    await world.deployer.call({echo.revisions[0].id: 1})
    await world.deployer.reconcile()
    worker = world.add_worker("a")
    await world.deployer.take_report(worker)
    await world.deployer.reconcile()
    await world.deployer.take_report(worker)
    assert len(worker.serving()) == 1


async def test_an_idle_replica_gives_way_to_another_algorithm(world: World) -> None:
    idle, busy, called = entry(memory_mib=500), entry(memory_mib=500), entry(memory_mib=400)
    world.deployer.learn(idle, busy, called)
    worker = world.add_worker("a")
    world.calls = {idle.revisions[0].id: 1, busy.revisions[0].id: 1}
    await world.settle(4)
    world.calls = {busy.revisions[0].id: 1}
    await world.settle(4)
    assert len(worker.serving()) == 2
    world.calls = {busy.revisions[0].id: 1, called.revisions[0].id: 1}
    await world.settle(8)
    assert world.serving() == {busy.revisions[0].id: 1, called.revisions[0].id: 1}


async def test_a_steady_demand_writes_nothing_until_it_is_about_to_lapse(world: World) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    world.deployer.learn(echo)
    world.add_worker("a")
    world.calls = {revision: 1}
    await world.settle(6)
    before = await world.deployer.deployment(revision)
    assert before.due_at is not None
    assert before.due_at > world.clock.now
    await world.deployer.call({revision: 1})
    after = await world.deployer.deployment(revision)
    assert after.due_at == before.due_at
