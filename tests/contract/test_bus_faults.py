"""What the bus over RabbitMQ keeps of its promises while the broker or the way to it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import uuid4

import pytest

from libs.common.bus import Bus, BusRefused, BusUnavailable, Options, delivery, open_bus
from tests.contract.conftest import FAST
from tests.support.eventually import eventually
from tests.support.messages import Blocker, Job, OtherJob, Recorder
from tests.support.rabbitmq import RabbitMQ
from tests.support.tcp_proxy import TcpProxy

IMPATIENT = replace(FAST, deadline=2)
"""Long enough for a broker that is there and busy."""

Open = Callable[[Options], AbstractAsyncContextManager[Bus]]


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The node, to be stopped at will."""
    try:
        yield rabbitmq
    finally:
        await asyncio.to_thread(rabbitmq.start)


@pytest.fixture
async def proxy(rabbitmq: RabbitMQ) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def open_through(rabbitmq: RabbitMQ, proxy: TcpProxy) -> Open:
    """Opens a bus whose link to the broker can be cut."""
    namespace = uuid4().hex[:12]
    return lambda options: open_bus(rabbitmq.url_at(proxy.port), options, namespace=namespace)


async def persist(bus: Bus, number: int, *, delay: float = 0) -> None:
    """Send a job until the broker has confirmed it."""
    async with asyncio.timeout(60):
        while True:
            try:
                await bus.send("q", Job(number=number), delay=delay)
            except BusUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize(
    ("end", "detours"),
    [
        pytest.param(RabbitMQ.stop, True, id="restart"),
        # A killed broker takes 10 s and more until its dead-letter workers go on; so here all jobs go straight.
        pytest.param(RabbitMQ.kill, False, id="kill"),
    ],
)
async def test_a_broker_that_goes_and_comes_back_loses_no_job(
    broker: RabbitMQ, end: Callable[[RabbitMQ], None], detours: bool
) -> None:
    numbers, failed, handled, heard = set(range(200)), set[int](), set[int](), Recorder()
    back = asyncio.Event()

    async def handler(job: Job) -> None:
        if len(handled) > 40:
            await back.wait()
        if detours and job.number % 10 == 0 and job.number not in failed:
            failed.add(job.number)
            raise RuntimeError("the first attempt fails")
        handled.add(job.number)

    async def send_all(bus: Bus) -> None:
        for number in numbers:
            await persist(bus, number, delay=0.5 if detours and number % 7 == 0 else 0)

    namespace = uuid4().hex[:12]
    async with (
        open_bus(broker.url, FAST, namespace=namespace) as sender,
        open_bus(broker.url, FAST, namespace=namespace) as one,
        open_bus(broker.url, FAST, namespace=namespace) as other,
        one.consume("q", handler, accepts=[Job], prefetch=5),
        other.consume("q", handler, accepts=[Job], prefetch=5),
        other.listen("log", ["news"], heard, accepts=[Job]),
    ):
        await sender.send("waiting", OtherJob(text="since before"))
        sending = asyncio.create_task(send_all(sender))
        await eventually(broker.queues_saved)
        await eventually(lambda: len(handled) > 40)
        await asyncio.to_thread(end, broker)
        await eventually(lambda: not sender.ready and not one.ready and not other.ready)
        assert handled < numbers
        await asyncio.to_thread(broker.start)
        back.set()
        await sending
        await eventually(lambda: handled == numbers)
        await eventually(lambda: _announced(sender, Job(number=1)))
        await eventually(lambda: heard.numbers)
        waiting = Recorder()
        async with one.consume("waiting", waiting, accepts=[Job]):
            [letter] = await eventually(lambda: one.dead("waiting"))
        assert "since before" in letter.body


async def test_jobs_whose_link_is_cut_under_their_handlers_come_again(proxy: TcpProxy, open_through: Open) -> None:
    blocker = Blocker()
    async with open_through(FAST) as bus, bus.consume("q", blocker, accepts=[Job], prefetch=2):
        for number in (1, 2, 3):
            await bus.send("q", Job(number=number))
        await eventually(lambda: blocker.inside == [1, 2])
        await proxy.cut()
        await eventually(lambda: not bus.ready)
        assert blocker.inside == [1, 2]
        await proxy.mend()
        await eventually(lambda: bus.ready)
        await bus.announce("news", Job(number=0))
        blocker.release.set()
        await eventually(lambda: sorted(blocker.done) == [1, 1, 2, 2, 3])
    assert blocker.most == 2
    assert blocker.cancelled == []


async def test_a_consumer_that_leaves_does_not_handle_again_what_came_again(
    proxy: TcpProxy, open_through: Open
) -> None:
    blocker, accepted = Blocker(), 0
    async with open_through(FAST) as bus:
        async with bus.consume("q", blocker, accepts=[Job]):
            await bus.send("q", Job(number=1))
            await eventually(lambda: blocker.inside == [1])
            accepted = proxy.accepted
            await proxy.cut()
            await eventually(lambda: not bus.ready)
            await proxy.mend()
            await eventually(lambda: bus.ready and proxy.accepted >= accepted + 2)
            async with bus.consume("other", Recorder(), accepts=[Job]):
                pass
            asyncio.get_running_loop().call_later(0.2, blocker.release.set)
        assert blocker.done == [1]
        seen = Recorder()
        async with bus.consume("q", seen, accepts=[Job]):
            await eventually(lambda: seen.numbers == [1])


async def test_a_job_goes_to_another_consumer_when_the_link_of_its_first_is_cut(
    rabbitmq: RabbitMQ, proxy: TcpProxy
) -> None:
    namespace, blocker, seen = uuid4().hex[:12], Blocker(), Recorder()
    async with (
        open_bus(rabbitmq.url_at(proxy.port), replace(FAST, grace=0.05), namespace=namespace) as one,
        open_bus(rabbitmq.url, FAST, namespace=namespace) as other,
        one.consume("q", blocker, accepts=[Job]),
    ):
        await other.send("q", Job(number=1))
        await eventually(lambda: blocker.inside == [1])
        await proxy.cut()
        async with other.consume("q", seen, accepts=[Job]):
            await eventually(lambda: seen.numbers == [1])


async def test_a_job_that_fails_while_the_link_is_cut_comes_again(proxy: TcpProxy, open_through: Open) -> None:
    attempts: list[int] = []
    fail = asyncio.Event()

    async def handler(_: Job) -> None:
        attempts.append(delivery().attempt)
        if len(attempts) == 1:
            await fail.wait()
            raise RuntimeError("fails while there is no broker")

    async with open_through(IMPATIENT) as bus, bus.consume("q", handler, accepts=[Job]):
        await bus.send("q", Job(number=1))
        await eventually(lambda: attempts == [1])
        await proxy.cut()
        await eventually(lambda: not bus.ready)
        fail.set()
        await proxy.mend()
        await eventually(lambda: attempts == [1, 1])


async def test_a_link_that_is_cut_while_a_consumer_subscribes_or_leaves_holds_nobody_up(
    proxy: TcpProxy, open_through: Open
) -> None:
    blocker = Blocker()

    async def service(bus: Bus) -> None:
        async with bus.consume("q", blocker, accepts=[Job]):
            await eventually(lambda: blocker.inside == [1])
            leaving.set()

    leaving = asyncio.Event()
    async with asyncio.timeout(60), open_through(FAST) as bus:
        await bus.send("q", Job(number=1))
        proxy.freeze()
        serving = asyncio.create_task(service(bus))
        await eventually(lambda: proxy.held > 0)
        await proxy.cut()
        await proxy.mend()
        await leaving.wait()
        await proxy.cut()
        await eventually(lambda: not bus.ready)
        await proxy.mend()
        await eventually(lambda: bus.ready)
        blocker.release.set()
        await serving
        assert blocker.done == [1]
        seen = Recorder()
        async with bus.consume("q", seen, accepts=[Job]):
            await eventually(lambda: seen.numbers == [1])


async def test_sending_during_an_outage_is_refused_in_time(proxy: TcpProxy, open_through: Open) -> None:
    async with open_through(IMPATIENT) as bus:
        await bus.send("q", Job(number=1))
        await proxy.cut()
        async with asyncio.timeout(60):
            for _ in range(50):
                with pytest.raises(BusUnavailable, match="did not answer in time"):
                    await bus.send("q", Job(number=2))
            with pytest.raises(BusUnavailable):
                await bus.announce("news", Job(number=2))
            with pytest.raises(BusUnavailable):
                await bus.dead("q")
            with pytest.raises(BusUnavailable):
                await bus.requeue("q")
            with pytest.raises(BusUnavailable):
                await bus.drop("q")
            async with bus.consume("q", Recorder(), accepts=[Job]):
                pass
        await proxy.mend()
        await eventually(lambda: bus.ready)
        await bus.send("q", Job(number=3))
        seen = Recorder()
        async with bus.consume("q", seen, accepts=[Job]):
            await eventually(lambda: seen.numbers == [1, 3])


async def test_a_broker_that_falls_silent_holds_nobody_up(proxy: TcpProxy, open_through: Open) -> None:
    async with open_through(IMPATIENT) as bus:
        await bus.send("q", Job(number=1))
        proxy.freeze()
        async with asyncio.timeout(60):
            with pytest.raises(BusUnavailable, match="did not answer in time"):
                await bus.send("q", Job(number=2))
            with pytest.raises(BusUnavailable, match="did not answer in time"):
                await bus.dead("q")
        await proxy.mend()
        await eventually(lambda: bus.ready)
        await persist(bus, 3)
        seen = Recorder()
        async with bus.consume("q", seen, accepts=[Job]):
            await eventually(lambda: {1, 3} <= set(seen.numbers))


async def test_a_consumer_that_leaves_a_silent_broker_does_not_hang(proxy: TcpProxy, open_through: Open) -> None:
    blocker = Blocker()
    async with asyncio.timeout(60), open_through(replace(IMPATIENT, grace=0.05)) as bus:
        async with bus.consume("q", blocker, accepts=[Job]):
            await bus.send("q", Job(number=1))
            await eventually(lambda: blocker.inside == [1])
            proxy.freeze()
        assert blocker.cancelled == [1]
        await proxy.cut()


async def test_a_short_outage_is_waited_out(proxy: TcpProxy, open_through: Open) -> None:
    async with open_through(FAST) as bus:
        await proxy.cut()
        await eventually(lambda: not bus.ready)
        sending = asyncio.create_task(bus.send("q", Job(number=1)))
        await proxy.mend()
        await sending
        seen = Recorder()
        async with bus.consume("q", seen, accepts=[Job]):
            await eventually(lambda: seen.numbers == [1])


async def test_a_listener_that_is_not_durable_hears_again_after_an_outage(
    proxy: TcpProxy, open_through: Open
) -> None:
    seen = Recorder()
    async with open_through(FAST) as bus, bus.listen("brief", ["news"], seen, accepts=[Job], durable=False):
        await bus.announce("news", Job(number=1))
        await eventually(lambda: seen.numbers == [1])
        await proxy.cut()
        await eventually(lambda: not bus.ready)
        await proxy.mend()

        async def heard() -> bool:
            await bus.announce("news", Job(number=2))
            return 2 in seen.numbers

        await eventually(heard, every=0.1)


async def test_a_bus_opens_without_its_broker_and_works_when_it_is_there(proxy: TcpProxy, open_through: Open) -> None:
    await proxy.cut()
    seen = Recorder()
    async with open_through(IMPATIENT) as bus:
        assert not bus.ready
        async with bus.consume("q", seen, accepts=[Job]):
            with pytest.raises(BusUnavailable):
                await bus.send("q", Job(number=1))
            await proxy.mend()
            await eventually(lambda: bus.ready)
            await persist(bus, 2)
            await eventually(lambda: seen.numbers == [2])


async def test_a_bus_whose_second_connection_is_refused_closes_the_first(rabbitmq: RabbitMQ, proxy: TcpProxy) -> None:
    url = rabbitmq.url_at(proxy.port).replace(rabbitmq.password, "wrong")
    with pytest.raises(BusRefused, match="the user or the password"):
        async with open_bus(url):
            pass


async def test_a_virtual_host_that_is_not_there_is_refused(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(BusRefused, match="the virtual host"):
        async with open_bus(f"{rabbitmq.url}nowhere"):
            pass


async def test_the_password_is_in_no_log_and_no_error(
    rabbitmq: RabbitMQ,
    proxy: TcpProxy,
    open_through: Open,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with open_through(IMPATIENT) as bus:
        await bus.send("q", Job(number=1))
        await proxy.cut()
        with pytest.raises(BusUnavailable) as caught:
            await bus.send("q", Job(number=2))
        texts += [str(caught.value), repr(caught.getrepr(style="long")), repr(bus)]
        await proxy.mend()
        await eventually(lambda: bus.ready)
    with pytest.raises(BusRefused) as refused:
        async with open_bus(f"{rabbitmq.url}nowhere"):
            pass
    captured = capsys.readouterr()
    texts += [str(refused.value), str(refused.getrepr(style="long")), captured.out, captured.err, caplog.text]
    assert any("bus_connection_lost" in text for text in texts)
    assert all(rabbitmq.password not in text for text in texts)


async def _announced(bus: Bus, message: Job) -> bool:
    await bus.announce("news", message)
    return True
