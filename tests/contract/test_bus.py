"""What every bus promises about jobs. `test_bus_events.py` has the rest of the suite."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from libs.common.bus import Bus, BusUnavailable, DeadLetter, QueueInUse, delivery
from tests.contract.conftest import FAST, Connect
from tests.support.eventually import eventually
from tests.support.messages import Blocker, Job, MisshapenJob, NewerJob, OtherJob, Recorder


async def test_a_job_reaches_its_consumer_as_the_message_it_was(bus: Bus) -> None:
    seen: list[Job | OtherJob] = []

    async def handler(message: Job | OtherJob) -> None:
        seen.append(message)

    accepts: Sequence[type[Job | OtherJob]] = [Job, OtherJob]
    async with bus.consume("q", handler, accepts=accepts):
        await bus.send("q", Job(number=7))
        await bus.send("q", OtherJob(text="grüße"))
        await eventually(lambda: seen == [Job(number=7), OtherJob(text="grüße")])


async def test_jobs_wait_for_a_consumer_and_come_in_order(bus: Bus) -> None:
    for number in range(30):
        await bus.send("q", Job(number=number))
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: len(seen.numbers) == 30)
    assert seen.numbers == list(range(30))


async def test_consumers_compete_and_each_job_is_handled_once(connect: Connect) -> None:
    one, other = await connect(), await connect()
    first, second = Blocker(), Recorder()
    async with one.consume("q", first, accepts=[Job]), other.consume("q", second, accepts=[Job]):
        for number in range(20):
            await one.send("q", Job(number=number))
        await eventually(lambda: len(second.numbers) == 19 and len(first.inside) == 1)
        first.release.set()
        await eventually(lambda: first.done)
    assert sorted(first.done + second.numbers) == list(range(20))


async def test_no_more_handlers_run_than_the_consumer_allows(bus: Bus) -> None:
    for number in range(9):
        await bus.send("q", Job(number=number))
    blocker = Blocker()
    async with bus.consume("q", blocker, accepts=[Job], prefetch=3):
        await eventually(lambda: len(blocker.inside) == 3)
        blocker.release.set()
        await eventually(lambda: len(blocker.done) == 9)
    assert blocker.most == 3


async def test_a_failing_job_is_tried_again_and_then_parked_with_the_reason(bus: Bus) -> None:
    seen = Recorder(fails=3)
    before = datetime.now(UTC)
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", Job(number=1))
        [letter] = await eventually(lambda: bus.dead("q"))
    assert [one.attempt for one in seen.deliveries] == [1, 2, 3]
    assert {(one.id, one.queue) for one in seen.deliveries} == {(letter.id, "q")}
    assert (letter.queue, letter.reason, letter.attempts) == ("q", "RuntimeError: job 1 fails", 3)
    assert letter.parked_at is not None
    assert timedelta() <= letter.parked_at - before < timedelta(minutes=1)
    assert '"number":1' in letter.body


async def test_a_job_that_succeeds_at_last_is_not_parked(bus: Bus) -> None:
    seen = Recorder(fails=2)
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", Job(number=1))
        await eventually(lambda: len(seen.numbers) == 3)
        await bus.send("q", Job(number=2))
        await eventually(lambda: seen.numbers.count(2) == 3)
    assert await bus.dead("q") == []


async def test_a_failing_job_does_not_hold_up_those_behind_it(connect: Connect) -> None:
    bus = await connect(replace(FAST, retries=(600.0,)))
    seen = Recorder(fails=1)
    async with bus.consume("q", seen, accepts=[Job]):
        for number in range(5):
            await bus.send("q", Job(number=number))
        await eventually(lambda: seen.numbers == [0, 1, 2, 3, 4])


async def test_the_reason_of_a_dead_letter_keeps_secrets_and_values_back(bus: Bus) -> None:
    class Inner(BaseModel):
        number: int

    async def handler(job: Job) -> None:
        if job.number == 1:
            raise RuntimeError("cannot reach amqp://someone:hunter2@broker/")
        Inner.model_validate({"number": "hunter2"})

    async with bus.consume("q", handler, accepts=[Job]):
        await bus.send("q", Job(number=1))
        await bus.send("q", Job(number=2))
        await bus.send("q", MisshapenJob(number="hunter2"))
        letters = await eventually(lambda: _dead(bus, "q", 3))
    assert all("hunter2" not in letter.reason for letter in letters)
    reasons = " ".join(letter.reason for letter in letters)
    assert "RuntimeError: cannot reach" in reasons
    assert "ValidationError: number: " in reasons
    assert "not a test.job 1: body.number: " in reasons


async def test_messages_that_are_not_understood_are_parked_at_once(bus: Bus) -> None:
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", NewerJob(number=1))
        await bus.send("q", OtherJob(text="?"))
        await bus.send("q", MisshapenJob(number="many"))
        await bus.send("q", Job(number=4))
        await eventually(lambda: seen.numbers == [4])
        letters = await eventually(lambda: _dead(bus, "q", 3))
    assert [letter.attempts for letter in letters] == [1, 1, 1]
    assert letters[0].reason == "test.job 2 is not understood here, only test.job 1"
    assert letters[1].reason == "test.other 1 is not understood here, only test.job 1"
    assert letters[2].reason.startswith("not a test.job 1: body.number: ")


async def test_dead_letters_can_be_looked_at_again_and_again(bus: Bus) -> None:
    async with bus.consume("q", Recorder(), accepts=[Job]):
        for text in "abc":
            await bus.send("q", OtherJob(text=text))
        letters = await eventually(lambda: _dead(bus, "q", 3))
    for _ in range(30):
        assert await bus.dead("q") == letters
    assert await bus.dead("q", limit=2) == letters[:2]
    assert await bus.dead("never-used") == []


async def test_dead_letters_given_back_start_anew(bus: Bus) -> None:
    async with bus.consume("q", Recorder(fails=9), accepts=[Job]):
        for number in range(4):
            await bus.send("q", Job(number=number))
        letters = await eventually(lambda: _dead(bus, "q", 4))
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        assert await bus.requeue("q", [letters[1].id, "unknown"]) == 1
        await eventually(lambda: [one.id for one in seen.deliveries] == [letters[1].id])
        assert await bus.dead("q") == [letters[0], letters[2], letters[3]]
        assert await bus.requeue("q") == 3
        await eventually(lambda: len(seen.numbers) == 4)
    assert {one.attempt for one in seen.deliveries} == {1}
    assert await bus.dead("q") == []
    assert await bus.requeue("q") == 0
    assert await bus.requeue("never-used") == 0


async def test_a_consumer_that_leaves_lets_its_handler_end(bus: Bus) -> None:
    blocker = Blocker()
    async with bus.consume("q", blocker, accepts=[Job]):
        await bus.send("q", Job(number=1))
        await bus.send("q", Job(number=2))
        await eventually(lambda: blocker.inside == [1])
        asyncio.get_running_loop().call_later(0.05, blocker.release.set)
    assert blocker.done == [1]
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [2])


async def test_what_a_consumer_leaves_unfinished_goes_back_in_its_place(connect: Connect) -> None:
    bus = await connect(replace(FAST, grace=0.05))
    for number in range(5):
        await bus.send("q", Job(number=number))
    blocker = Blocker()
    async with bus.consume("q", blocker, accepts=[Job], prefetch=2):
        await eventually(lambda: len(blocker.inside) == 2)
    assert sorted(blocker.cancelled) == [0, 1]
    assert blocker.most == 2
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: len(seen.numbers) == 5)
    assert seen.numbers == [0, 1, 2, 3, 4]
    assert {one.attempt for one in seen.deliveries} == {1}


async def test_a_consumer_that_is_cancelled_while_it_leaves_cancels_its_handlers(connect: Connect) -> None:
    bus = await connect(replace(FAST, grace=600))
    blocker, leaving = Blocker(), asyncio.Event()

    async def service() -> None:
        async with bus.consume("q", blocker, accepts=[Job]):
            await eventually(lambda: blocker.inside == [1])
            leaving.set()

    running = asyncio.create_task(service())
    await bus.send("q", Job(number=1))
    await leaving.wait()

    def cancelled() -> bool:
        running.cancel()
        return running.done()

    await eventually(cancelled)
    assert blocker.cancelled == [1]
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [1])


async def test_a_handler_that_ends_as_cancelled_by_itself_has_failed(bus: Bus) -> None:
    async def handler(_: Job) -> None:
        raise asyncio.CancelledError

    async with bus.consume("q", handler, accepts=[Job]):
        await bus.send("q", Job(number=1))
        [letter] = await eventually(lambda: bus.dead("q"))
    assert (letter.reason, letter.attempts) == ("CancelledError: ", 3)


async def test_a_delayed_job_comes_after_its_delay(bus: Bus) -> None:
    seen = Recorder()
    clock = asyncio.get_running_loop().time
    async with bus.consume("q", seen, accepts=[Job]):
        sent = clock()
        await bus.send("q", Job(number=1), delay=2)
        await bus.send("q", Job(number=2))
        await eventually(lambda: seen.numbers == [2, 1])
        assert clock() - sent > 1.9
    assert [one.attempt for one in seen.deliveries] == [1, 1]


async def test_a_handler_runs_with_the_request_and_the_trace_of_the_sender(bus: Bus) -> None:
    seen: list[tuple[object, int]] = []

    async def handler(_: Job) -> None:
        span = trace.get_current_span().get_span_context()
        seen.append((structlog.contextvars.get_contextvars().get("request_id"), span.trace_id))

    async with bus.consume("q", handler, accepts=[Job]):
        with (
            structlog.contextvars.bound_contextvars(request_id="req-1"),
            TracerProvider().get_tracer("test").start_as_current_span("request") as span,
        ):
            await bus.send("q", Job(number=1))
        await eventually(lambda: seen == [("req-1", span.get_span_context().trace_id)])
        await bus.send("q", Job(number=2))
        await eventually(lambda: seen[1:] == [(None, 0)])


async def test_a_handler_runs_in_the_context_of_its_consumer(bus: Bus) -> None:
    place: ContextVar[str] = ContextVar("place", default="elsewhere")
    seen: list[str] = []

    async def handler(_: Job) -> None:
        seen.append(place.get())
        place.set("changed by a handler")

    place.set("consumer")
    async with bus.consume("q", handler, accepts=[Job]):
        place.set("sender")
        for number in range(2):
            await bus.send("q", Job(number=number))
        await eventually(lambda: len(seen) == 2)
    assert seen == ["consumer", "consumer"]
    with pytest.raises(LookupError):
        delivery()


async def test_a_full_queue_refuses_jobs_and_takes_them_again_later(connect: Connect) -> None:
    bus = await connect(replace(FAST, backlog=5))
    sent = 0

    async def fill() -> None:
        nonlocal sent
        while sent < 500:
            await bus.send("q", Job(number=sent))
            sent += 1

    with pytest.raises(BusUnavailable, match="full"):
        await fill()
    assert sent >= 5
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: len(seen.numbers) >= sent)
        await eventually(lambda: _sent(bus, Job(number=1000)))
        await eventually(lambda: seen.numbers[-1] == 1000)
    assert seen.numbers[:sent] == list(range(sent))


async def test_the_oldest_dead_letters_make_room_for_new_ones(connect: Connect) -> None:
    bus = await connect(replace(FAST, backlog=3))

    async def texts() -> str:
        return "".join(letter.body.partition('"text":')[2].strip('"}') for letter in await bus.dead("q"))

    async with bus.consume("q", Recorder(), accepts=[Job]):
        for number, text in enumerate("abcdef", start=1):
            await bus.send("q", OtherJob(text=text))
            expected = "abcdef"[:number][-3:]

            async def shows(expected: str = expected) -> bool:
                return await texts() == expected

            await eventually(shows)


async def test_a_dropped_queue_forgets_its_messages_and_can_be_used_again(bus: Bus) -> None:
    async with bus.consume("q", Recorder(), accepts=[Job]):
        await bus.send("q", OtherJob(text="dead"))
        await eventually(lambda: bus.dead("q"))
    await bus.send("q", Job(number=1))
    await bus.send("q", Job(number=2), delay=0.2)
    await bus.drop("q")
    await bus.drop("never-used")
    assert await bus.dead("q") == []
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", Job(number=3), delay=0.3)
        await eventually(lambda: seen.numbers)
    assert seen.numbers == [3]


async def test_a_queue_in_use_is_not_dropped(bus: Bus) -> None:
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", OtherJob(text="dead"))
        letters = await eventually(lambda: bus.dead("q"))
        with pytest.raises(QueueInUse, match="'q' has consumers"):
            await bus.drop("q")
        assert await bus.dead("q") == letters
        await bus.send("q", Job(number=1))
        await eventually(lambda: seen.numbers == [1])
    await bus.drop("q")
    assert await bus.dead("q") == []


@pytest.mark.parametrize("name", ["", "a b", "q/1", ".q", "q.dead", "q.retry.100", "events.x", "q" * 200])
async def test_a_name_that_cannot_be_a_queue_is_refused(bus: Bus, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a queue"):
        await bus.send(name, Job(number=1))
    with pytest.raises(ValueError, match="cannot name a queue"):
        async with bus.consume(name, Recorder(), accepts=[Job]):
            pass


async def test_what_cannot_be_sent_or_consumed_is_refused(bus: Bus) -> None:
    for delay in (-1, 100_000, float("nan")):
        with pytest.raises(ValueError, match="delayed"):
            await bus.send("q", Job(number=1), delay=delay)
    with pytest.raises(ValueError, match="larger than a message may be"):
        await bus.send("q", OtherJob(text="x" * 9_000_000))
    with pytest.raises(ValueError, match="at least 1 message"):
        async with bus.consume("q", Recorder(), accepts=[Job], prefetch=0):
            pass
    for accepts in ([], [Job, Job]):
        with pytest.raises(ValueError, match="accepts"):
            async with bus.consume("q", Recorder(), accepts=accepts):
                pass
    for method in (bus.dead, bus.requeue, bus.drop):
        with pytest.raises(ValueError, match="cannot name a queue"):
            await method("q.dead")


async def test_a_closed_bus_takes_no_messages(bus: Bus) -> None:
    assert bus.ready
    await bus.__aexit__(None, None, None)
    assert not bus.ready
    for attempt in (
        bus.send("q", Job(number=1)),
        bus.announce("a.b", Job(number=1)),
        bus.dead("q"),
        bus.requeue("q"),
        bus.drop("q"),
    ):
        with pytest.raises(BusUnavailable):
            async with asyncio.timeout(60):
                await attempt


async def _sent(bus: Bus, message: Job | OtherJob) -> bool:
    await bus.send("q", message)
    return True


async def _dead(bus: Bus, queue: str, count: int) -> list[DeadLetter]:
    """The dead letters, if there are so many."""
    letters = await bus.dead(queue)
    return letters if len(letters) == count else []
