"""`Bus` over RabbitMQ. See `topology.py` for what is on the broker.

There are two connections, for a broker short of memory or disk stops reading from those that publish: one to
publish, one to consume. When one is lost it is opened again after growing pauses, and consumers subscribe again. A
handler that runs meanwhile runs to its end; its message comes again, to it or to another consumer.

A failed message is published to a delay queue or the dead letters before it is acknowledged, so it is always in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from aio_pika import Message as Outgoing
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPChannelError, ChannelNotFoundEntity, DeliveryError, PublishError

from libs.common.bus.amqp.consumer import Consumer
from libs.common.bus.amqp.letters import dead_letter, id_of, outgoing
from libs.common.bus.amqp.link import Broker, Link, LinkLost, Session, declare, link_errors, open_channel
from libs.common.bus.amqp.topology import QueueSpec, Topology
from libs.common.bus.envelopes import seal
from libs.common.bus.protocol import (
    BusUnavailable,
    DeadLetter,
    Handler,
    Options,
    QueueInUse,
    check_delay,
    check_job_queue,
    check_pattern,
    check_queue,
    check_topic,
    listener_queue,
)
from libs.common.bus.subscriptions import Subscription
from libs.common.contracts.messages import Message

M = TypeVar("M", bound=Message)


class AmqpBus:
    """See `libs.common.bus.protocol.Bus`.

    Opening it raises BusRefused when the broker does not let us in. A broker that cannot be reached is waited for in
    the background: see `ready`.

    Args:
        url: `amqp://user:password@host:port/virtual-host`, or `amqps:`.
        namespace: goes before the names of all exchanges and queues.
    """

    def __init__(self, url: str, options: Options | None = None, *, namespace: str = "") -> None:
        self._options = options or Options()
        self._topology = Topology(namespace, self._options.backlog)
        broker = Broker.at(url)
        self._out = Link(broker, "publisher", self._topology, self._options.deadline)
        self._in = Link(broker, "consumer", self._topology, self._options.deadline)

    async def __aenter__(self) -> Self:
        try:
            await self._out.open()
            await self._in.open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self._in.close()
        await self._out.close()

    @property
    def ready(self) -> bool:
        return self._out.up and self._in.up

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        check_job_queue(queue)
        check_delay(delay)
        message_id, raw = seal(message)
        work = self._topology.job_queue(queue)
        needed = [self._topology.dead_queue(queue), work]
        if delay:
            later = self._topology.delay_queue(queue, delay)
            await self._publish("", later.name, outgoing(message_id, raw), [*needed, later])
        else:
            await self._publish(self._topology.jobs, work.name, outgoing(message_id, raw), needed)

    async def announce(self, topic: str, message: Message) -> None:
        check_topic(topic)
        message_id, raw = seal(message)
        await self._publish(self._topology.events, topic, outgoing(message_id, raw), None)

    def consume(
        self, queue: str, handler: Handler[M], *, accepts: Sequence[type[M]], prefetch: int = 1
    ) -> AbstractAsyncContextManager[None]:
        subscription = Subscription(check_job_queue(queue), handler, accepts, prefetch, self._options)
        return self._consumer(subscription, self._topology.job_queue(queue))

    def listen(
        self,
        name: str,
        topics: Sequence[str],
        handler: Handler[M],
        *,
        accepts: Sequence[type[M]],
        durable: bool = True,
        prefetch: int = 10,
    ) -> AbstractAsyncContextManager[None]:
        patterns = tuple(check_pattern(topic) for topic in topics)
        queue = listener_queue(name)
        if durable:
            spec = self._topology.listener_queue(queue, patterns)
        else:
            queue = f"{queue}.{uuid4().hex}"
            spec = self._topology.own_queue(queue, patterns)
        return self._consumer(Subscription(queue, handler, accepts, prefetch, self._options), spec)

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        async with self._parked(queue, limit) as letters:
            return [dead_letter(queue, letter) for letter in letters]

    async def requeue(self, queue: str, ids: Collection[str] | None = None) -> int:
        async with self._parked(queue, self._options.backlog) as letters:
            chosen = [letter for letter in letters if ids is None or id_of(letter) in ids]
            for letter in chosen:
                await self._publish("", self._topology.name(queue), outgoing(id_of(letter), letter.body), ())
                async with asyncio.timeout(self._options.deadline):
                    with link_errors():
                        await letter.ack()
            return len(chosen)

    async def drop(self, queue: str) -> None:
        names = self._topology.names(check_queue(queue))
        with self._outages():
            async with asyncio.timeout(self._out.patience):
                session = await self._out.session()
                session.declared.difference_update(names)
                if await _consumers(session, names[0]):
                    raise QueueInUse(f"the queue {queue!r} has consumers")
                async with open_channel(session) as channel:
                    for name in names:
                        with link_errors():
                            await channel.queue_delete(name)

    def _consumer(self, subscription: Subscription[M], spec: QueueSpec) -> AbstractAsyncContextManager[None]:
        return Consumer(self._in, self._topology, self._publish_to, subscription, spec).running()

    @asynccontextmanager
    async def _parked(self, queue: str, limit: int) -> AsyncIterator[list[AbstractIncomingMessage]]:
        """The oldest dead letters, ours until the context is left. Those that are not acknowledged stay parked."""
        name = self._topology.dead_name(check_queue(queue))
        with self._outages():
            async with asyncio.timeout(self._out.patience):
                session = await self._out.session()
            async with open_channel(session) as channel:
                yield await self._get(channel, name, limit)

    async def _get(self, channel: AbstractChannel, name: str, limit: int) -> list[AbstractIncomingMessage]:
        letters: list[AbstractIncomingMessage] = []
        with link_errors():
            try:
                queue = await channel.declare_queue(name, passive=True, timeout=self._options.deadline)
            except ChannelNotFoundEntity:
                return letters
            while len(letters) < limit:
                letter = await queue.get(fail=False, timeout=self._options.deadline)
                if letter is None:
                    break
                letters.append(letter)
        return letters

    async def _publish_to(self, queue: QueueSpec, message: Outgoing) -> None:
        own = () if queue.exclusive else (queue,)
        await self._publish("", queue.name, message, own)

    async def _publish(self, exchange: str, key: str, message: Outgoing, needed: Sequence[QueueSpec] | None) -> None:
        """Publish, and wait until the broker has it. A lost connection makes us try again while there is time.

        Args:
            needed: queues without which the message would not reach its queue; None when it needs no queue.
        """
        with self._outages():
            try:
                async with asyncio.timeout(self._out.patience):
                    done = False
                    while not done:
                        done = await self._try_publish(await self._out.session(), exchange, key, message, needed)
            except DeliveryError:
                raise BusUnavailable(f"the broker takes no more messages for {key!r}: the queue is full") from None

    async def _try_publish(
        self, session: Session, exchange: str, key: str, message: Outgoing, needed: Sequence[QueueSpec] | None
    ) -> bool:
        """Publish once. False: the session was lost, or somebody deleted a queue that we had declared."""
        try:
            for queue in needed or ():
                if queue.name not in session.declared:
                    await declare(session, queue)
            return await _confirmed(session, exchange, key, message, mandatory=needed is not None)
        except LinkLost as error:
            self._out.lose(session, error)
            return False
        except PublishError:
            if not needed:
                raise BusUnavailable(f"there is no queue {key!r} at the broker") from None
            session.declared.clear()
            return False

    @contextmanager
    def _outages(self) -> Iterator[None]:
        try:
            yield
        except (LinkLost, TimeoutError):
            raise BusUnavailable(f"the broker at {self._out.address} did not answer in time") from None
        except AMQPChannelError as error:
            raise BusUnavailable(f"the broker at {self._out.address} refuses: {error}") from None


async def _consumers(session: Session, queue: str) -> int:
    """How many consumers a queue has: 0 where there is none."""
    try:
        async with open_channel(session) as channel:
            with link_errors():
                declared = await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return 0
    return declared.declaration_result.consumer_count or 0


async def _confirmed(session: Session, exchange: str, key: str, message: Outgoing, *, mandatory: bool) -> bool:
    with link_errors():
        try:
            target = await session.channel.get_exchange(exchange, ensure=False)
            await target.publish(message, key, mandatory=mandatory)
        except AMQPChannelError as error:
            raise LinkLost(str(error)) from None
    return True
