"""What every bus promises about events. Part of the suite of `test_bus.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.bus import Bus, listener_queue
from tests.contract.conftest import FAST, Connect
from tests.support.eventually import eventually
from tests.support.messages import Blocker, Job, NewerJob, Recorder


async def test_each_listener_hears_each_event_once(bus: Bus) -> None:
    one, other = Recorder(), Recorder()
    async with (
        bus.listen("one", ["news.*", "news.world", "#"], one, accepts=[Job]),
        bus.listen("other", ["news.world"], other, accepts=[Job]),
    ):
        for number in range(5):
            await bus.announce("news.world", Job(number=number))
        await eventually(lambda: len(one.numbers) == len(other.numbers) == 5)
        await bus.announce("news.world", Job(number=5))
        await eventually(lambda: one.numbers[5:] == other.numbers[5:] == [5])


async def test_listeners_of_one_name_share_its_events(connect: Connect) -> None:
    first, second = Blocker(), Recorder()
    one, other = await connect(), await connect()
    async with (
        one.listen("shared", ["news"], first, accepts=[Job], prefetch=1),
        other.listen("shared", ["news"], second, accepts=[Job], prefetch=1),
    ):
        for number in range(10):
            await one.announce("news", Job(number=number))
        await eventually(lambda: len(first.inside) == 1 and len(second.numbers) == 9)
        first.release.set()
        await eventually(lambda: first.done)
    assert sorted(first.done + second.numbers) == list(range(10))


async def test_listeners_that_are_not_durable_each_hear_all_while_they_are_there(connect: Connect) -> None:
    one, other = Recorder(), Recorder()
    first, second = await connect(), await connect()
    async with first.listen("name", ["news"], one, accepts=[Job], durable=False):
        async with second.listen("name", ["news"], other, accepts=[Job], durable=False):
            await first.announce("news", Job(number=1))
            await eventually(lambda: one.numbers == other.numbers == [1])
        await first.announce("news", Job(number=2))
        await eventually(lambda: one.numbers == [1, 2])
    again = Recorder()
    async with second.listen("name", ["news"], again, accepts=[Job], durable=False):
        await first.announce("news", Job(number=3))
        await eventually(lambda: again.numbers == [3])
    assert (one.numbers, other.numbers) == ([1, 2], [1])


async def test_a_durable_listener_hears_what_it_missed(bus: Bus) -> None:
    async with bus.listen("log", ["news"], Recorder(), accepts=[Job]):
        pass
    for number in range(3):
        await bus.announce("news", Job(number=number))
    seen = Recorder()
    async with bus.listen("log", ["news"], seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [0, 1, 2])


async def test_an_event_that_nobody_listens_to_is_dropped(bus: Bus) -> None:
    await bus.announce("news", Job(number=1))
    seen = Recorder()
    async with bus.listen("log", ["news"], seen, accepts=[Job]):
        await bus.announce("news", Job(number=2))
        await eventually(lambda: seen.numbers)
    assert seen.numbers == [2]


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("a.b", ["a.b"]),
        ("*", ["a", "ab"]),
        ("a.*", ["a.b", "a.c"]),
        ("*.b", ["a.b"]),
        ("*.*.c", ["a.b.c"]),
        ("#", ["a", "ab", "a.b", "a.c", "a.b.c", "a.b.c.d"]),
        ("a.#", ["a", "a.b", "a.c", "a.b.c", "a.b.c.d"]),
        ("#.c", ["a.c", "a.b.c"]),
        ("a.#.c", ["a.c", "a.b.c"]),
        ("a.*.#", ["a.b", "a.c", "a.b.c", "a.b.c.d"]),
        ("#.b.#", ["a.b", "a.b.c", "a.b.c.d"]),
    ],
)
async def test_patterns_choose_topics(bus: Bus, pattern: str, heard: list[str]) -> None:
    topics = ["a", "ab", "a.b", "a.c", "a.b.c", "a.b.c.d"]
    seen = Recorder()
    async with bus.listen("log", [pattern, "end"], seen, accepts=[Job], prefetch=1):
        for number, topic in enumerate(topics):
            await bus.announce(topic, Job(number=number))
        await bus.announce("end", Job(number=99))
        await eventually(lambda: 99 in seen.numbers)
    assert [topics[number] for number in seen.numbers if number != 99] == heard


async def test_an_event_that_one_listener_fails_on_comes_again_to_it_alone(bus: Bus) -> None:
    failing, fine = Recorder(fails=9), Recorder()
    async with (
        bus.listen("failing", ["news"], failing, accepts=[Job]),
        bus.listen("fine", ["news"], fine, accepts=[Job]),
    ):
        await bus.announce("news", Job(number=1))
        [letter] = await eventually(lambda: bus.dead(listener_queue("failing")))
    assert [one.attempt for one in failing.deliveries] == [1, 2, 3]
    assert (letter.queue, letter.reason) == ("events.failing", "RuntimeError: job 1 fails")
    assert fine.numbers == [1]
    assert await bus.requeue(listener_queue("failing")) == 1
    seen = Recorder()
    async with bus.listen("failing", ["news"], seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [1])


async def test_a_listener_that_is_not_durable_has_its_failures_again_but_parks_nothing(bus: Bus) -> None:
    seen = Recorder(fails=9)
    async with bus.listen("brief", ["news"], seen, accepts=[Job], durable=False):
        await bus.announce("news", NewerJob(number=0))
        await bus.announce("news", Job(number=1))
        await eventually(lambda: len(seen.numbers) == 3)
        await bus.announce("news", Job(number=2))
        await eventually(lambda: seen.numbers == [1, 1, 1, 2, 2, 2])
    assert {one.queue for one in seen.deliveries} != {listener_queue("brief")}
    assert await bus.dead(seen.deliveries[0].queue) == []


async def test_a_listener_too_far_behind_parks_its_oldest_events(connect: Connect) -> None:
    bus = await connect(replace(FAST, backlog=3))
    async with bus.listen("log", ["news"], Recorder(), accepts=[Job]):
        pass
    for number in range(5):
        await bus.announce("news", Job(number=number))

    async def overflow() -> list[str]:
        letters = await bus.dead(listener_queue("log"))
        return [letter.reason for letter in letters] if len(letters) == 2 else []

    assert await eventually(overflow) == ["the queue is full: its listener is too far behind"] * 2
    seen = Recorder()
    async with bus.listen("log", ["news"], seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [2, 3, 4])


async def test_topics_and_patterns_that_cannot_be_are_refused(bus: Bus) -> None:
    for topic in ("", "a..b", "a.*", "#", "a b", "x" * 200):
        with pytest.raises(ValueError, match="is not a topic"):
            await bus.announce(topic, Job(number=1))
    for pattern in ("", "a..b", "a.b*", "x" * 200):
        with pytest.raises(ValueError, match="is not a pattern"):
            async with bus.listen("log", [pattern], Recorder(), accepts=[Job]):
                pass
