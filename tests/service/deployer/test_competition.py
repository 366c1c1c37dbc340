"""Several processes of the deployer on the same rows, at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from tests.service.deployer.world import Clock, Deployer, ScriptedWorker, World, deployer_on, entry


async def _deployers(stack: AsyncExitStack, url: str, clock: Clock, count: int) -> list[Deployer]:
    return [await stack.enter_async_context(deployer_on(url, clock)) for _ in range(count)]


async def test_deployers_that_plan_at_once_start_nothing_twice(deployer_url: str, clock: Clock) -> None:
    entries = [entry() for _ in range(6)]
    async with AsyncExitStack() as stack:
        deployers = await _deployers(stack, deployer_url, clock, 3)
        for one in deployers:
            one.learn(*entries)
        world = World(deployers[0], [], clock)
        world.add_worker("a", memory_mib=10_000, slots=100)
        await world.step()
        calls = {one.revisions[0].id: 2 for one in entries}
        await asyncio.gather(*(one.call(calls, gateway=str(nth)) for nth, one in enumerate(deployers)))
        await asyncio.gather(*(one.reconcile() for one in deployers * 3))
        placed = Counter(row.revision_id for row in await world.deployer.replicas())
        assert placed == dict.fromkeys(calls, 4)


async def test_deployers_that_plan_at_once_never_give_the_same_room_twice(deployer_url: str, clock: Clock) -> None:
    entries = [entry() for _ in range(12)]
    async with AsyncExitStack() as stack:
        deployers = await _deployers(stack, deployer_url, clock, 4)
        for one in deployers:
            one.learn(*entries)
        world = World(deployers[0], [], clock)
        world.add_worker("a", slots=5)
        await world.step()

        async def calls(nth: int) -> None:
            for one in entries[nth::4]:
                await deployers[nth].call({one.revisions[0].id: 1}, gateway=str(one.id))
                await deployers[nth].reconcile()

        await asyncio.gather(*(calls(nth) for nth in range(4)))
        assert len(await world.deployer.replicas()) == 5


async def test_everything_at_once_deadlocks_nobody_and_converges(deployer_url: str, clock: Clock) -> None:
    entries = [entry(idle_seconds=1, max_replicas=2) for _ in range(8)]
    async with AsyncExitStack() as stack:
        deployers = await _deployers(stack, deployer_url, clock, 2)
        for one in deployers:
            one.learn(*entries)
        world = World(deployers[0], [], clock)
        workers = [world.add_worker(name, memory_mib=600) for name in "abcd"]
        revisions = [one.revisions[0].id for one in entries]

        async def gateway(name: str, turn: int) -> None:
            for nth in range(6):
                some = revisions[(turn + nth) % 3 :: 2]
                await deployers[turn % 2].call(dict.fromkeys(some, 1 + nth % 2), gateway=name)

        async def planner(one: Deployer) -> None:
            for _ in range(12):
                await one.reconcile()

        async def node(worker: ScriptedWorker, turn: int) -> None:
            for _ in range(12):
                await deployers[turn % 2].take_report(worker)

        for _ in range(3):
            clock.forward(1)
            async with asyncio.TaskGroup() as group:
                for turn in range(3):
                    group.create_task(gateway(f"g{turn}", turn))
                for one in deployers:
                    group.create_task(planner(one))
                for turn, worker in enumerate(workers):
                    group.create_task(node(worker, turn))
        world.calls = {revisions[0]: 1, revisions[5]: 2}
        await world.settle(20)
        assert world.serving() == {revisions[0]: 1, revisions[5]: 2}


async def test_who_knows_less_of_the_catalog_leaves_planning_to_who_knows_more(
    deployer_url: str, clock: Clock
) -> None:
    echo, news = entry(), entry()
    async with AsyncExitStack() as stack:
        knows, lags = await _deployers(stack, deployer_url, clock, 2)
        knows.learn(echo, news)
        lags.learn(echo)
        world = World(knows, [], clock)
        worker = world.add_worker("a")
        world.calls = {news.revisions[0].id: 1}
        for _ in range(6):
            await world.step()
            await lags.reconcile()
        assert worker.serving() == [news.revisions[0].id]
        assert len(await knows.replicas(live=False)) == 1
        clock.forward(6)
        lags.algorithms = knows.algorithms
        lags.learn(news)
        world.deployer = lags
        world.calls = {news.revisions[0].id: 2}
        await world.settle(2)
        assert len(worker.serving()) == 2, "the other is gone: this one goes on"


async def test_a_change_that_came_while_another_planned_is_not_forgotten(deployer_url: str, clock: Clock) -> None:
    echo = entry(min_replicas=1)
    async with AsyncExitStack() as stack:
        first, second = await _deployers(stack, deployer_url, clock, 2)
        first.learn(entry(), entry(), entry())
        await first.reconcile()
        second.learn(echo)
        await second.reconcile()
        assert await second.replicas() == [], "it knows less, so it waits"
        clock.forward(6)
        world = World(second, [], clock)
        worker = world.add_worker("a")
        await world.settle(2)
        assert worker.serving() == [echo.revisions[0].id]
