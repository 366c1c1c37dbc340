"""The deployer dies at every step of several stories, one step after the other; what is left always converges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import MemoryBus
from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.messages import Message
from libs.common.contracts.replicas import ReplicaState
from libs.common.db import Database
from services.deployer import workers
from services.deployer.models import Base
from tests.service.deployer.world import HISTORY, Clock, Deployer, ScriptedWorker, World, entry


class Died(BaseException):
    """The process is gone. Nothing catches it, as nothing catches a kill."""


class Deaths:
    """Counts what the deployer does to the world while it is armed, and ends it once, after so many steps."""

    def __init__(self, after: int) -> None:
        self.armed = False
        self.died = False
        self._left = after

    def step(self) -> bool:
        """Is this step the last?"""
        if self.died or not self.armed:
            return False
        self._left -= 1
        self.died = self._left < 0
        return self.died


class MortalDatabase(Database):
    """Dies before a commit, or after it and before anybody is told."""

    def __init__(self, url: str, deaths: Deaths) -> None:
        super().__init__(url, HISTORY[0])
        self._deaths = deaths

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        silent = False
        async with super().transaction() as session:
            yield session
            if self._deaths.step():
                raise Died
            silent = self._deaths.step()
            if silent:
                session.info.pop("after_commit", None)
        if silent:
            raise Died


class MortalBus(MemoryBus):
    """Dies after a message was sent, before that is known."""

    def __init__(self, deaths: Deaths) -> None:
        super().__init__()
        self._deaths = deaths

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        await super().send(queue, message, delay=delay)
        if self._deaths.step():
            raise Died


class MortalWorld(World):
    """A world whose deployer dies once and is started again at once."""

    def __init__(self, url: str, deaths: Deaths, entries: list[CatalogEntry]) -> None:
        self._url, self.deaths, self._entries = url, deaths, entries
        self._databases: list[Database] = []
        clock = Clock()
        self._bus = MortalBus(deaths)
        super().__init__(self._started(clock), [], clock)

    def learn(self, changed: CatalogEntry) -> None:
        self._entries = [changed if one.id == changed.id else one for one in self._entries]
        self.deployer.learn(changed)

    async def doing(self, act: Callable[[], Awaitable[Any]]) -> bool:
        """Let the deployer do something; it is started again when it died. Did it live?"""
        try:
            await act()
        except Died:
            self.deployer = self._started(self.clock)
            return False
        return True

    async def step(self, seconds: float = 1.0, *, silent: Any = ()) -> None:
        self.clock.forward(seconds)
        await self.doing(lambda: self.deployer.call(self.calls))
        await self.doing(self.deployer.reconcile)
        for worker in self.workers:
            if worker not in silent:
                await self.doing(lambda worker=worker: self._report(worker))  # type: ignore[misc]

    async def _report(self, worker: ScriptedWorker) -> None:
        orders = await self.deployer.answer(worker, worker.report())
        if self.deaths.step():
            raise Died  # the answer is lost
        worker.obey(orders)

    async def close(self) -> None:
        for database in self._databases:
            await database.close()

    def _started(self, clock: Clock) -> Deployer:
        database = MortalDatabase(self._url, self.deaths)
        self._databases.append(database)
        deployer = Deployer(database, self._bus, clock)
        deployer.learn(*self._entries)
        return deployer

    async def __aenter__(self) -> MortalWorld:
        await self._bus.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._bus.__aexit__(None, None, None)
        await self.close()


Story = Callable[[MortalWorld, CatalogEntry], Awaitable[dict[UUID, int]]]
"""Something happens while deaths are armed; returns what should run at last."""


async def cold_start(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    world.deaths.armed = True
    world.calls = {echo.revisions[0].id: 2}
    await world.settle(4)
    return {echo.revisions[0].id: 2}


async def replacement(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    await _running(world, echo)
    world.learn(echo.model_copy(update={"secrets_version": 1}))
    await world.settle(5)
    return {echo.revisions[0].id: 1}


async def end(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    await _running(world, echo)
    world.calls = {}
    await world.settle(5)
    return {}


async def drained_worker(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    await _running(world, echo)
    (emptied,) = world.workers
    world.add_worker("b")

    async def drain() -> None:
        async with world.deployer.database.transaction() as session:
            await workers.set_draining(session, emptied.id, True, world.clock.now)

    while not await world.doing(drain):
        pass  # an administrator repeats what was not answered
    await world.settle(4)
    return {echo.revisions[0].id: 1}


async def lost_worker(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    await _running(world, echo)
    gone = list(world.workers)
    world.add_worker("b")
    for _ in range(5):
        await world.step(4.0, silent=gone)
    return {echo.revisions[0].id: 1}


async def failing_start(world: MortalWorld, echo: CatalogEntry) -> dict[UUID, int]:
    world.deaths.armed = True
    for worker in world.workers:
        worker.breaks[echo.revisions[0].id] = "bad"
    world.calls = {echo.revisions[0].id: 1}
    await world.settle(4)
    for worker in world.workers:
        worker.breaks.clear()
    return {echo.revisions[0].id: 1}


async def _running(world: MortalWorld, echo: CatalogEntry) -> None:
    """One replica is ready. From now on the deployer may die."""
    world.calls = {echo.revisions[0].id: 1}
    while not await world.deployer.routes():
        await world.step()
    world.deaths.armed = True


@pytest.mark.parametrize("story", [cold_start, replacement, end, drained_worker, lost_worker, failing_start])
async def test_converges_wherever_the_deployer_dies(deployer_url: str, story: Story) -> None:
    steps = 0
    while await _dies(deployer_url, story, Deaths(steps)):
        steps += 1
    assert steps > 20


async def _dies(url: str, story: Story, deaths: Deaths) -> bool:
    """Tell the story and see that it ends well. Was there a step at which the deployer died?"""
    await _forget_all(url)
    echo = entry(idle_seconds=3)
    async with MortalWorld(url, deaths, [echo]) as world:
        world.add_worker("a")
        wanted = await story(world, echo)
        deaths.armed = False
        for _ in range(40):
            if await _converged(world, wanted):
                break
            await world.step()
        await world.step()
        assert await _converged(world, wanted), (world.serving(), await world.deployer.routes())
    return deaths.died


async def _forget_all(url: str) -> None:
    """The rows of the last telling go: far less work than another database for each."""
    database = Database(url, HISTORY[0])
    try:
        async with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                await session.execute(delete(table))
    finally:
        await database.close()


async def _converged(world: MortalWorld, wanted: dict[UUID, int]) -> bool:
    """What runs is what is wanted, the rows know all of it, and the gateways all that is ready."""
    rows = await world.deployer.replicas()
    there = {(key, worker.id) for worker in world.workers for key in worker.replicas}
    routed = {one.id for route in (await world.deployer.routes()).values() for one in route.replicas}
    return (
        world.serving() == wanted
        and {row.state for row in rows} <= {ReplicaState.READY}
        and {(row.id, row.worker_id) for row in rows} == there
        and routed == {row.id for row in rows}
    )
