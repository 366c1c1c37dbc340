"""Leases on rows of a real database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from libs.common.db import Database, now
from libs.common.lease import LeaseLost, free, new_token, release, renew
from tests.service.common.tables import Job, sample_database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with sample_database(database_url) as found:
        yield found


async def add_jobs(database: Database, count: int) -> None:
    async with database.transaction() as session:
        session.add_all(Job(id=number) for number in range(count))


async def claim(database: Database, token: str, at: datetime, *, limit: int = 1, seconds: float = 60) -> list[int]:
    """Take free jobs, as services do it: one statement that skips what others are taking."""
    due = (
        select(Job.id).where(free(Job, at)).order_by(Job.id).limit(limit).with_for_update(skip_locked=True).cte("due")
    )
    taking = (
        update(Job)
        .where(Job.id.in_(select(due.c.id)))
        .values(lease_token=token, lease_until=at + timedelta(seconds=seconds))
        .returning(Job.id)
    )
    async with database.transaction() as session:
        return list((await session.execute(taking)).scalars())


async def job(database: Database, number: int) -> Job:
    async with database.transaction() as session:
        return await session.get_one(Job, number)


async def test_eight_claimers_take_each_job_once(database_url: str, database: Database) -> None:
    await add_jobs(database, 60)
    at = now()

    async def work(own: Database) -> list[int]:
        taken: list[int] = []
        while found := await claim(own, new_token(), at, limit=2):
            taken += found
        return taken

    async with AsyncExitStack() as stack:
        own = [await stack.enter_async_context(sample_database(database_url)) for _ in range(8)]
        taken = await asyncio.gather(*(work(one) for one in own))
    counts = Counter(number for found in taken for number in found)
    assert counts == dict.fromkeys(range(60), 1)


async def test_a_job_is_free_again_when_its_lease_lapsed(database: Database) -> None:
    await add_jobs(database, 1)
    at = now()
    assert await claim(database, "one", at, seconds=10) == [0]
    assert await claim(database, "two", at + timedelta(seconds=9)) == []
    assert await claim(database, "two", at + timedelta(seconds=11)) == [0]


async def test_the_holder_renews_and_others_stay_out(database: Database) -> None:
    await add_jobs(database, 1)
    at = now()
    await claim(database, "one", at, seconds=10)
    async with database.transaction() as session:
        await renew(session, Job, 0, "one", at=at + timedelta(seconds=9), seconds=10)
    assert (await job(database, 0)).lease_until == at + timedelta(seconds=19)
    assert await claim(database, "two", at + timedelta(seconds=15)) == []


async def test_a_holder_that_lost_its_lease_changes_nothing(database: Database) -> None:
    await add_jobs(database, 1)
    at = now()
    await claim(database, "one", at, seconds=1)
    await claim(database, "two", at + timedelta(seconds=2), seconds=60)

    async def go_on() -> None:
        async with database.transaction() as session:
            (await session.get_one(Job, 0)).result = "of the first"
            await renew(session, Job, 0, "one", at=at, seconds=60)

    with pytest.raises(LeaseLost, match="Job 0"):
        await go_on()
    with pytest.raises(LeaseLost):
        async with database.transaction() as session:
            await release(session, Job, 0, "one")
    found = await job(database, 0)
    assert (found.result, found.lease_token) == (None, "two")


async def test_a_job_that_is_gone_has_no_lease(database: Database) -> None:
    with pytest.raises(LeaseLost):
        async with database.transaction() as session:
            await renew(session, Job, 404, "one", at=now(), seconds=1)


async def test_a_released_job_is_free_at_once(database: Database) -> None:
    await add_jobs(database, 1)
    at = now()
    await claim(database, "one", at)
    async with database.transaction() as session:
        await release(session, Job, 0, "one")
    assert await claim(database, "two", at) == [0]


def test_tokens_are_never_the_same() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000
