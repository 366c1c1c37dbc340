"""Takes messages from one queue for as long as its context is open, over however many connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol

from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPChannelError

from libs.common import logs
from libs.common.bus.amqp.letters import attempt_of, id_of, outgoing, parked
from libs.common.bus.amqp.link import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Link,
    LinkLost,
    Session,
    declare,
    ended,
    link_errors,
    open_channel,
    quietly,
)
from libs.common.bus.amqp.topology import QueueSpec, Topology
from libs.common.bus.protocol import BusUnavailable
from libs.common.bus.subscriptions import Failure, Subscription

log = logs.get(__name__)

_AFTER_DELETION_SECONDS = 1.0
"""RabbitMQ cancels the consumers of a deleted queue a little before it forgets the queue. Who subscribes again in
between subscribes to nothing, and is not told."""


class Publish(Protocol):
    """Publishes to a queue that is there. Raises BusUnavailable."""

    async def __call__(self, queue: QueueSpec, message: Message) -> None: ...


class Consumer:
    """One subscription on the broker.

    Args:
        spec: the queue to take from. An exclusive one ends with its connection, and has no dead letters.
    """

    def __init__(
        self,
        link: Link,
        topology: Topology,
        publish: Publish,
        subscription: Subscription[Any],
        spec: QueueSpec,
    ) -> None:
        self._link = link
        self._topology = topology
        self._publish = publish
        self._subscription = subscription
        self._spec = spec
        self._deadline = link.deadline
        self._durable = not spec.exclusive
        # A handler can outlive its connection, and its message comes again over the next one.
        self._slots = asyncio.Semaphore(subscription.prefetch)
        self._begun = asyncio.Event()
        self._taken_from: tuple[AbstractQueue, str] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as leaving:
            taker = asyncio.create_task(self._take())
            leaving.push_async_callback(ended, taker)
            leaving.push_async_callback(self._subscription.leave)
            leaving.push_async_callback(self._stop_taking)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline):
                    await self._begun.wait()
            yield

    async def _stop_taking(self) -> None:
        self._subscription.leaving = True
        if self._taken_from is not None:
            queue, tag = self._taken_from
            await quietly(queue.cancel(tag))

    async def _take(self) -> None:
        pause = FIRST_PAUSE
        while not self._subscription.leaving:
            session = await self._link.session()
            try:
                await self._take_over(session)
                pause = FIRST_PAUSE
                if not session.lost.is_set():
                    await asyncio.sleep(_AFTER_DELETION_SECONDS)
            except Exception as error:  # whatever it is, there must be another attempt
                reason = f"{type(error).__name__}: {error}"
                log.warning("bus_subscription_failed", queue=self._subscription.queue, reason=reason)
                if isinstance(error, LinkLost):
                    self._link.lose(session, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _take_over(self, session: Session) -> None:
        """Take messages until the channel or the queue ends. What is not answered then goes back to the queue."""
        gone = asyncio.Event()

        async def cancelled(_: object) -> None:
            gone.set()

        async with open_channel(session) as channel:
            channel.close_callbacks.add(lambda *_: gone.set())
            try:
                async with asyncio.timeout(self._deadline):
                    if self._durable:
                        await declare(session, self._topology.dead_queue(self._subscription.queue))
                    await declare(session, self._spec)
                    with link_errors():
                        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(cancelled)
                        await channel.set_qos(prefetch_count=self._subscription.prefetch)
                        queue = await channel.get_queue(self._spec.name, ensure=False)
                        self._taken_from = queue, await queue.consume(partial(self._arrived, session))
                self._begun.set()
                await gone.wait()
            finally:
                self._taken_from = None

    async def _arrived(self, session: Session, message: AbstractIncomingMessage) -> None:
        """Handle the message in a task of its own: tasks of the channel end with it."""
        if not self._subscription.leaving:
            self._subscription.run(self._handle(session, message))

    async def _handle(self, session: Session, message: AbstractIncomingMessage) -> None:
        async with self._slots:
            if self._subscription.leaving:
                return
            failure = await self._subscription.handle(id_of(message), message.body, attempt_of(message))
        try:
            if failure is not None:
                await self._set_aside_surely(session, message, failure)
            async with asyncio.timeout(self._deadline):
                with link_errors():
                    await message.ack()
        except (LinkLost, AMQPChannelError, TimeoutError) as error:
            log.info("message_comes_again", queue=self._subscription.queue, reason=str(error))

    async def _set_aside_surely(self, session: Session, message: AbstractIncomingMessage, failure: Failure) -> None:
        """Hold the message until the broker has it elsewhere, or comes with it again over another connection."""
        pause = FIRST_PAUSE
        while not session.lost.is_set():
            try:
                await self._set_aside(session, message, failure)
            except BusUnavailable as error:
                log.warning("message_not_set_aside", queue=self._subscription.queue, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return
        raise LinkLost("the connection ended before the message was set aside")

    async def _set_aside(self, session: Session, message: AbstractIncomingMessage, failure: Failure) -> None:
        queue = self._subscription.queue
        if failure.pause is not None:
            later = self._topology.delay_queue(queue, failure.pause, exclusive=not self._durable)
            if not self._durable:
                # An exclusive queue belongs to the connection that declares it.
                await declare(session, later)
            await self._publish(later, outgoing(id_of(message), message.body, attempt_of(message) + 1))
        elif self._durable:
            await self._publish(self._topology.dead_queue(queue), parked(message, failure.reason))
        else:
            log.warning("event_dropped", queue=queue, message_id=id_of(message), reason=failure.reason)
