"""The bus over RabbitMQ beside others that use, lock, change and delete what is on the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from libs.common.bus import Bus, BusUnavailable, open_bus
from libs.common.bus.amqp.topology import DELIVERY_LIMIT
from tests.contract.conftest import FAST
from tests.support.eventually import eventually
from tests.support.messages import Job, OtherJob, Recorder
from tests.support.rabbitmq import RabbitMQ


@pytest.fixture
def namespace() -> str:
    return uuid4().hex[:12]


@pytest.fixture
async def bus(rabbitmq: RabbitMQ, namespace: str) -> AsyncIterator[Bus]:
    async with open_bus(rabbitmq.url, replace(FAST, deadline=60), namespace=namespace) as bus:
        yield bus


@pytest.fixture
async def other(rabbitmq: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """Another program's channel on the same broker."""
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        yield channel


async def test_what_other_programs_put_in_a_queue_is_parked_and_can_be_given_back(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    async with bus.consume("q", Recorder(), accepts=[Job]):
        await _put(other, f"{namespace}.q", b"\xff not JSON")
        [letter] = await eventually(lambda: bus.dead("q"))
        assert letter.reason.startswith("not an envelope: ")
        assert letter.body.endswith(" not JSON")
        assert letter.attempts == 1
        assert await bus.requeue("q", [letter.id]) == 1

        async def parked_again() -> bool:
            return [one.id for one in await bus.dead("q")] == [letter.id]

        await eventually(parked_again)


async def test_a_job_that_ends_every_process_that_takes_it_is_parked_by_the_broker(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    await bus.send("q", Job(number=1))
    queue = await other.get_queue(f"{namespace}.q")
    taken = 0

    async def exhausted() -> bool:
        nonlocal taken
        message = await queue.get(fail=False)
        if message is not None:
            taken += 1
            await message.nack(requeue=True)
        return bool(await bus.dead("q"))

    await eventually(exhausted)
    [letter] = await bus.dead("q")
    assert letter.reason.startswith("taken again and again")
    assert letter.parked_at is None
    assert taken == DELIVERY_LIMIT + 1


async def test_a_dead_letter_of_unknown_origin_says_so(bus: Bus, other: AbstractChannel, namespace: str) -> None:
    await bus.send("q", Job(number=1))
    await _put(other, f"{namespace}.q.dead", b"{}")
    [letter] = await eventually(lambda: bus.dead("q"))
    assert letter.reason == "parked by the broker: no reason given"


async def test_dead_letters_stay_parked_when_their_queue_is_gone(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    async with bus.consume("q", Recorder(), accepts=[Job]):
        await bus.send("q", OtherJob(text="?"))
        letters = await eventually(lambda: bus.dead("q"))
    await other.queue_delete(f"{namespace}.q")
    with pytest.raises(BusUnavailable, match="there is no queue"):
        await bus.requeue("q")
    assert await bus.dead("q") == letters


async def test_a_queue_that_exists_with_other_arguments_is_used_as_it_is(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    await other.declare_queue(f"{namespace}.q", durable=True)
    seen = Recorder(fails=1)
    async with bus.consume("q", seen, accepts=[Job]):
        await bus.send("q", Job(number=1))
        await eventually(lambda: seen.numbers == [1, 1])


async def test_deployments_with_different_namespaces_do_not_meet(rabbitmq: RabbitMQ, bus: Bus) -> None:
    seen, others = Recorder(), Recorder()
    async with (
        open_bus(rabbitmq.url, FAST, namespace=uuid4().hex[:12]) as stranger,
        bus.consume("q", seen, accepts=[Job]),
        bus.listen("log", ["#"], seen, accepts=[Job]),
        stranger.consume("q", others, accepts=[Job]),
        stranger.listen("log", ["#"], others, accepts=[Job]),
    ):
        await bus.send("q", Job(number=1))
        await bus.announce("news", Job(number=2))
        await stranger.send("q", Job(number=3))
        await stranger.announce("news", Job(number=4))
        await eventually(lambda: sorted(seen.numbers) == [1, 2] and sorted(others.numbers) == [3, 4])


async def test_a_queue_that_somebody_deleted_is_declared_again(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    await bus.send("q", Job(number=1))
    await other.queue_delete(f"{namespace}.q")
    await bus.send("q", Job(number=2))
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: seen.numbers == [2])


async def test_a_consumer_takes_from_its_queue_again_after_somebody_deleted_it(
    rabbitmq: RabbitMQ, bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    seen = Recorder()
    async with bus.consume("q", seen, accepts=[Job]):
        await other.queue_delete(f"{namespace}.q")
        await eventually(lambda: _consumed(rabbitmq, f"{namespace}.q"))
        await bus.send("q", Job(number=1))
        await eventually(lambda: seen.numbers == [1])


async def test_an_exchange_that_somebody_deleted_is_declared_again(
    bus: Bus, other: AbstractChannel, namespace: str
) -> None:
    await bus.announce("news", Job(number=1))
    await other.exchange_delete(f"{namespace}.events")
    await bus.announce("news", Job(number=2))
    seen = Recorder()
    async with bus.listen("log", ["news"], seen, accepts=[Job]):
        await bus.announce("news", Job(number=3))
        await eventually(lambda: seen.numbers == [3])


async def test_a_queue_that_the_broker_withholds_is_an_outage_until_it_is_free(
    rabbitmq: RabbitMQ,
    bus: Bus,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = Recorder()
    async with await aio_pika.connect(rabbitmq.url) as owner, owner.channel() as channel:
        await channel.declare_queue(f"{namespace}.q", exclusive=True)
        with pytest.raises(BusUnavailable, match=r"refuses: .*RESOURCE_LOCKED"):
            await bus.send("q", Job(number=1))
        consuming = asyncio.create_task(_consume_one(bus, seen))
        await eventually(lambda: "bus_subscription_failed" in capsys.readouterr().out + caplog.text)
    await eventually(lambda: _sent(bus))
    await consuming
    assert seen.numbers == [2]


async def test_a_failed_job_is_held_while_it_cannot_be_set_aside(
    rabbitmq: RabbitMQ,
    bus: Bus,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = Recorder(fails=1)
    async with bus.consume("q", seen, accepts=[Job]):
        async with await aio_pika.connect(rabbitmq.url) as owner, owner.channel() as channel:
            await channel.declare_queue(f"{namespace}.q.retry.20", exclusive=True)
            await bus.send("q", Job(number=1))
            await eventually(lambda: "message_not_set_aside" in capsys.readouterr().out + caplog.text)
            assert seen.numbers == [1]
        await eventually(lambda: [one.attempt for one in seen.deliveries] == [1, 2])


async def test_an_exchange_of_another_kind_is_waited_for(
    rabbitmq: RabbitMQ, other: AbstractChannel, namespace: str
) -> None:
    await other.declare_exchange(f"{namespace}.events", aio_pika.ExchangeType.FANOUT, durable=True)
    async with open_bus(rabbitmq.url, FAST, namespace=namespace) as bus:
        assert not bus.ready
        await other.exchange_delete(f"{namespace}.events")
        await eventually(lambda: bus.ready)


async def _consumed(rabbitmq: RabbitMQ, queue: str) -> bool:
    """Whether the queue is there and has a consumer. Asks on a connection of its own, for the answer may end it."""
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        return bool(declared.declaration_result.consumer_count)


async def _consume_one(bus: Bus, seen: Recorder) -> None:
    async with bus.consume("q", seen, accepts=[Job]):
        await eventually(lambda: seen.numbers)


async def _sent(bus: Bus) -> bool:
    await bus.send("q", Job(number=2))
    return True


async def _put(channel: AbstractChannel, queue: str, body: bytes) -> None:
    await channel.default_exchange.publish(aio_pika.Message(body), queue)
