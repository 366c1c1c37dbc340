"""Publishing feeds from rows of a real database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update

from libs.common import db
from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.db import Database
from libs.common.feed import PAGE, FeedFollower, FeedPublisher
from libs.common.loops import running, tasks
from tests.service.common.tables import FeedEntry, FeedVersion, sample_database
from tests.support.eventually import UNASKED, eventually

FEED = "things"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with sample_database(database_url) as found:
        yield found


@pytest.fixture
def publisher(database: Database) -> FeedPublisher:
    return FeedPublisher(database, FeedVersion, FeedEntry)


async def publish(database: Database, publisher: FeedPublisher, **bodies: dict[str, Any] | None) -> None:
    async with database.transaction() as session:
        for key, body in bodies.items():
            await publisher.publish(session, FEED, key, body)


def changed(page: FeedPage) -> list[tuple[str, dict[str, Any] | None]]:
    return [(change.key, change.body) for change in page.changes]


async def test_a_follower_gets_the_newest_body_of_what_changed_oldest_change_first(
    database: Database, publisher: FeedPublisher
) -> None:
    await publish(database, publisher, a={"n": 1}, b={"n": 1})
    await publish(database, publisher, a={"n": 2})
    page = await publisher.page(FEED, since=0)
    assert changed(page) == [("b", {"n": 1}), ("a", {"n": 2})]
    assert (page.version, page.more) == (3, False)
    await publish(database, publisher, c={"n": 3})
    later = await publisher.page(FEED, since=page.version, epoch=page.epoch)
    assert changed(later) == [("c", {"n": 3})]


async def test_the_same_body_again_is_no_change(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1})
    await publish(database, publisher, a={"n": 1}, b=None)
    assert (await publisher.page(FEED, since=0)).version == 1


async def test_the_end_of_a_key_is_told_to_those_who_may_have_it_and_not_to_newcomers(
    database: Database, publisher: FeedPublisher
) -> None:
    await publish(database, publisher, a={"n": 1}, b={"n": 1})
    knows = await publisher.page(FEED, since=0)
    await publish(database, publisher, a=None)
    assert changed(await publisher.page(FEED, since=knows.version, epoch=knows.epoch)) == [("a", None)]
    newcomer = await publisher.page(FEED, since=0)
    assert changed(newcomer) == [("b", {"n": 1})]
    assert newcomer.version == 3
    await publish(database, publisher, a={"n": 4})
    assert changed(await publisher.page(FEED, since=3, epoch=knows.epoch)) == [("a", {"n": 4})]


async def test_what_is_rolled_back_was_never_published(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1})

    async def fail() -> None:
        async with database.transaction() as session:
            await publisher.publish(session, FEED, "a", {"n": 2})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    page = await publisher.page(FEED, since=0)
    assert (changed(page), page.version) == ([("a", {"n": 1})], 1)


async def test_feeds_of_one_service_have_their_own_versions(database: Database, publisher: FeedPublisher) -> None:
    async with database.transaction() as session:
        await publisher.publish(session, "one", "a", {})
        await publisher.publish(session, "one", "b", {})
        await publisher.publish(session, "two", "a", {})
    assert (await publisher.page("one", since=0)).version == 2
    assert (await publisher.page("two", since=0)).version == 1


async def test_a_feed_that_was_never_published_is_empty(publisher: FeedPublisher) -> None:
    assert await publisher.page(FEED, since=0) == FeedPage(epoch="", version=0)


async def test_another_epoch_starts_from_the_beginning(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1}, b={"n": 2})
    page = await publisher.page(FEED, since=99, epoch="of a database that was restored", wait=30)
    assert changed(page) == [("a", {"n": 1}), ("b", {"n": 2})]


async def test_a_large_feed_comes_in_pages_and_none_is_left_out(database: Database, publisher: FeedPublisher) -> None:
    async with database.transaction() as session:
        await publisher.publish(session, FEED, "first", {})
        session.add_all(
            FeedEntry(name=FEED, key=f"k{number}", version=number, body={"n": number})
            for number in range(2, PAGE + 8)
        )
        version = await session.get_one(FeedVersion, FEED)
        version.version = PAGE + 7
    first = await publisher.page(FEED, since=0)
    assert (len(first.changes), first.more) == (PAGE, True)
    second = await publisher.page(FEED, since=first.version, epoch=first.epoch)
    assert (len(second.changes), second.more, second.version) == (7, False, PAGE + 7)
    follower = FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: None)
    assert await follower.refresh()
    assert len(follower.entries) == PAGE + 7


async def test_a_long_poll_answers_as_soon_as_there_is_a_change(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1})
    head = await publisher.page(FEED, since=0)
    waiting = [
        asyncio.create_task(publisher.page(FEED, since=head.version, epoch=head.epoch, wait=30)) for _ in range(5)
    ]
    await publish(database, publisher, b={"n": 2})
    async with asyncio.timeout(UNASKED):
        assert [changed(await one) for one in waiting] == [[("b", {"n": 2})]] * 5


async def test_a_long_poll_without_a_change_ends_with_its_time(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1})
    head = await publisher.page(FEED, since=0)
    page = await publisher.page(FEED, since=head.version, epoch=head.epoch, wait=0.05)
    assert (page.changes, page.version) == ((), head.version)


async def test_those_who_wait_are_let_go_when_the_service_stops(database: Database, publisher: FeedPublisher) -> None:
    await publish(database, publisher, a={"n": 1})
    head = await publisher.page(FEED, since=0)
    waiting = asyncio.create_task(publisher.page(FEED, since=head.version, epoch=head.epoch, wait=30))
    await asyncio.sleep(0)
    publisher.release()
    async with asyncio.timeout(UNASKED):
        assert (await waiting).changes == ()


async def test_a_change_by_another_instance_of_the_service_is_noticed(
    database_url: str, database: Database, publisher: FeedPublisher
) -> None:
    await publish(database, publisher, a={"n": 1})
    head = await publisher.page(FEED, since=0)
    async with sample_database(database_url) as elsewhere, running(publisher.loop):
        waiting = asyncio.create_task(publisher.page(FEED, since=head.version, epoch=head.epoch, wait=30))
        await publish(elsewhere, FeedPublisher(elsewhere, FeedVersion, FeedEntry), b={"n": 2})
        async with asyncio.timeout(UNASKED):
            assert changed(await waiting) == [("b", {"n": 2})]


class Wire:
    """How followers reach a publisher: pages travel as JSON."""

    def __init__(self, publisher: FeedPublisher) -> None:
        self._publisher = publisher
        self.seen: list[FeedChange] = []

    async def fetch(self, *, since: int, epoch: str, wait: float) -> FeedPage:
        page = await self._publisher.page(FEED, since=since, epoch=epoch, wait=wait)
        self.seen.extend(page.changes)
        return FeedPage.model_validate_json(page.model_dump_json())


async def test_concurrent_publishers_lose_no_change_and_never_deadlock(database_url: str) -> None:
    """Four instances, each with several transactions at once on overlapping keys in any order, two followers."""
    dice = random.Random(7)
    keys = [f"k{number}" for number in range(12)]
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(sample_database(database_url)) for _ in range(4)]
        publishers = [FeedPublisher(one, FeedVersion, FeedEntry) for one in databases]
        wires = [Wire(one) for one in publishers[:2]]
        followers = [FeedFollower(FEED, wire.fetch, lambda key, body: None) for wire in wires]
        for one in publishers:
            await stack.enter_async_context(running(one.loop))

        async def write(nth: int, turn: int) -> None:
            async with databases[nth].transaction() as session:
                for key in dice.sample(keys, 4):
                    body = None if dice.random() < 0.2 else {"by": nth, "turn": turn, "dice": dice.random()}
                    await publishers[nth].publish(session, FEED, key, body)

        async with tasks(*(one.run() for one in followers)):
            for turn in range(8):
                async with asyncio.timeout(60):
                    await asyncio.gather(*(write(nth, turn) for nth in range(4) for _ in range(3)))
            truth = await publishers[3].page(FEED, since=0)
            await eventually(lambda: all(one.version == truth.version for one in followers))
        whole = {change.key: change.body for change in truth.changes}
        for follower, wire in zip(followers, wires, strict=True):
            assert follower.entries == whole
            versions = [change.version for change in wire.seen]
            assert versions == sorted(set(versions)), "each version once, in its order"


async def test_a_version_is_not_visible_before_all_earlier_ones_are(
    database: Database, publisher: FeedPublisher
) -> None:
    await publish(database, publisher, a={"n": 1})
    held, release = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with database.transaction() as session:
            await publisher.publish(session, FEED, "slow", {})
            held.set()
            await release.wait()

    first = asyncio.create_task(slow())
    await held.wait()
    second = asyncio.create_task(publish(database, publisher, quick={}))
    page = await publisher.page(FEED, since=1, epoch=(await publisher.page(FEED, since=0)).epoch)
    assert page.changes == ()
    release.set()
    await asyncio.gather(first, second)
    page = await publisher.page(FEED, since=0)
    assert [change.key for change in page.changes] == ["a", "slow", "quick"]


async def test_a_follower_starts_again_when_the_publishers_history_is_another(
    database: Database, publisher: FeedPublisher, tmp_path: Path
) -> None:
    snapshot = tmp_path / "things.json"
    await publish(database, publisher, a={"n": 1}, b={"n": 1})
    follower = FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: None, snapshot=snapshot)
    assert await follower.refresh()
    follower.save()
    async with database.transaction() as session:
        await session.execute(delete(FeedEntry))
        await session.execute(delete(FeedVersion))
    await publish(database, publisher, b={"n": 2})
    told: list[tuple[str, object]] = []
    restarted = FeedFollower(
        FEED, Wire(publisher).fetch, lambda key, body: told.append((key, body)), snapshot=snapshot
    )
    assert restarted.load()
    assert await restarted.refresh()
    assert restarted.entries == {"b": {"n": 2}}
    assert ("a", None) in told


async def test_rows_that_were_set_back_are_another_history(
    database_url: str, database: Database, publisher: FeedPublisher
) -> None:
    """Whoever knows more than the rows do starts again, and so does everybody else, at any instance."""
    await publish(database, publisher, a={"n": 1}, b={"n": 1})
    ahead, behind = (FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: None) for _ in range(2))
    assert await behind.refresh()
    await publish(database, publisher, c={"n": 1}, d={"n": 1})
    assert await ahead.refresh()
    async with database.transaction() as session:
        await session.execute(update(FeedVersion).values(version=2))
        await session.execute(delete(FeedEntry).where(FeedEntry.version > 2))
    await publish(database, publisher, a=None)
    async with sample_database(database_url) as elsewhere:
        other = FeedPublisher(elsewhere, FeedVersion, FeedEntry)
        async with running(other.loop):
            waiting = asyncio.create_task(other.page(FEED, since=3, epoch=behind.epoch, wait=30))
            assert await ahead.refresh()
            async with asyncio.timeout(UNASKED):
                told = await waiting
    assert ahead.entries == {"b": {"n": 1}}
    assert (told.epoch, changed(told)) == (ahead.epoch, [("b", {"n": 1})])
    assert await behind.refresh()
    assert (behind.entries, behind.epoch) == (ahead.entries, ahead.epoch)
    epoch = ahead.epoch
    await publish(database, publisher, a={"n": 2})
    assert await ahead.refresh()
    assert (ahead.entries["a"], ahead.epoch) == ({"n": 2}, epoch)


async def test_followers_start_again_when_an_operator_says_that_rows_were_restored(
    database: Database, publisher: FeedPublisher
) -> None:
    """The statement of `docs/howto/restore-a-database.md`, for rows that have overtaken their followers meanwhile."""
    await publish(database, publisher, a={"n": 1}, b={"n": 1}, c={"n": 1})
    follower = FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: None)
    assert await follower.refresh()
    async with database.transaction() as session:
        await session.execute(update(FeedVersion).values(version=2))
        await session.execute(delete(FeedEntry).where(FeedEntry.version > 2))
    await publish(database, publisher, a=None, d={"n": 1})
    async with running(publisher.loop):
        waiting = asyncio.create_task(publisher.page(FEED, since=4, epoch=follower.epoch, wait=30))
        async with database.transaction() as session:
            await session.execute(text("update sample.feed_versions set epoch = gen_random_uuid()"))
        async with asyncio.timeout(UNASKED):
            assert changed(await waiting) == [("b", {"n": 1}), ("d", {"n": 1})]
    assert await follower.refresh()
    assert follower.entries == {"b": {"n": 1}, "d": {"n": 1}}


async def test_keys_that_are_gone_for_long_are_forgotten_and_who_was_away_so_long_starts_again(
    database: Database, publisher: FeedPublisher
) -> None:
    async def later(days: float) -> int:
        """That much later; how many rows there are then."""
        await publisher.forget_ends(db.now() + timedelta(days=days))
        async with database.transaction() as session:
            return await session.scalar(select(func.count()).select_from(FeedEntry)) or 0

    await publish(database, publisher, a={"n": 1}, b={"n": 1})
    away, near = (FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: None) for _ in range(2))
    assert await away.refresh()
    await publish(database, publisher, a=None, c={"n": 1}, d={"n": 1})
    await publish(database, publisher, d=None)
    assert await near.refresh()
    assert [await later(days) for days in (0, 8, 9, 14, 16, 24)] == [4, 4, 4, 4, 2, 2]
    epoch, seen = near.epoch, near.version
    async with asyncio.timeout(UNASKED):
        page = await publisher.page(FEED, since=away.version, epoch=away.epoch, wait=30)
        assert (page.floor, page.version) == (seen, seen)
    told: list[str] = []
    for follower in (away, near, FeedFollower(FEED, Wire(publisher).fetch, lambda key, body: told.append(key))):
        assert await follower.refresh()
        assert follower.entries == {"b": {"n": 1}, "c": {"n": 1}}
        assert (follower.epoch, follower.version, follower.complete) == (epoch, seen, True)
    assert told == ["b", "c"]
    waiting = asyncio.create_task(publisher.page(FEED, since=seen, epoch=epoch, wait=30))
    await publish(database, publisher, a={"n": 2})
    async with asyncio.timeout(UNASKED):
        assert changed(await waiting) == [("a", {"n": 2})]
