"""The bus of one process: all services of `constellation up` share one. What is unfinished when it closes is lost.

Messages travel as the same bytes as over a broker, so that what works here works there. Nothing polls: a message
or a free handler starts the next one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from libs.common import logs
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
from libs.common.bus.subscriptions import Failure, Subscription
from libs.common.bus.topics import matches
from libs.common.contracts.messages import Message

log = logs.get(__name__)

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, order=True)
class _Item:
    place: int
    """In its queue. The first in order is taken first."""
    id: str
    raw: bytes
    attempt: int = 1


class _Queue:
    """Messages that wait, and the subscriptions that compete for them."""

    def __init__(self, name: str, backlog: int, *, parks: bool = True) -> None:
        self.name = name
        self.patterns: set[str] = set()
        self.dead: deque[DeadLetter] = deque(maxlen=backlog)
        self._backlog = backlog
        self._parks = parks
        self._places = count()
        self._ready: list[_Item] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._subscriptions: deque[Subscription[Any]] = deque()

    @property
    def full(self) -> bool:
        return len(self._ready) >= self._backlog

    def put(self, message_id: str, raw: bytes, attempt: int = 1) -> None:
        heapq.heappush(self._ready, _Item(next(self._places), message_id, raw, attempt))
        self._dispatch()

    def put_later(self, delay: float, message_id: str, raw: bytes, attempt: int = 1) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self.put(message_id, raw, attempt)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def shed(self) -> None:
        """Make room for one more message by parking the oldest."""
        while self.full:
            self.park(heapq.heappop(self._ready), "the queue is full: its listener is too far behind")

    def park(self, item: _Item, reason: str) -> None:
        if not self._parks:
            log.warning("event_dropped", queue=self.name, message_id=item.id, reason=reason)
            return
        body = item.raw.decode(errors="replace")
        self.dead.append(DeadLetter(item.id, self.name, reason, item.attempt, datetime.now(UTC), body))

    def subscribe(self, subscription: Subscription[Any]) -> None:
        self._subscriptions.append(subscription)
        self._dispatch()

    def unsubscribe(self, subscription: Subscription[Any]) -> None:
        self._subscriptions.remove(subscription)

    @property
    def used(self) -> bool:
        return bool(self._subscriptions)

    def revive(self, ids: Collection[str] | None) -> int:
        """Put dead letters back, all or those with the ids. Returns how many."""
        chosen: list[DeadLetter] = []
        for letter in [self.dead.popleft() for _ in range(len(self.dead))]:
            (chosen if ids is None or letter.id in ids else self.dead).append(letter)
        for letter in chosen:
            self.put(letter.id, letter.body.encode())
        return len(chosen)

    def clear(self) -> None:
        """Forget all messages."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self.dead.clear()

    def _dispatch(self) -> None:
        """Hand messages to subscriptions that have a handler free, in turn."""
        idle = len(self._subscriptions)
        while self._ready and idle:
            subscription = self._subscriptions[0]
            self._subscriptions.rotate(-1)
            if subscription.running >= subscription.prefetch:
                idle -= 1
                continue
            idle = len(self._subscriptions)
            task = subscription.run(self._handle(subscription, heapq.heappop(self._ready)))
            task.add_done_callback(lambda _: self._dispatch())

    async def _handle(self, subscription: Subscription[Any], item: _Item) -> None:
        try:
            failure = await subscription.handle(item.id, item.raw, item.attempt)
        except asyncio.CancelledError:
            heapq.heappush(self._ready, item)
            raise
        if failure is not None:
            self._set_aside(item, failure)

    def _set_aside(self, item: _Item, failure: Failure) -> None:
        if failure.pause is None:
            self.park(item, failure.reason)
        else:
            self.put_later(failure.pause, item.id, item.raw, item.attempt + 1)


class MemoryBus:
    """See `libs.common.bus.protocol.Bus`. Use it in one event loop."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self._queues: dict[str, _Queue] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for queue in self._queues.values():
            queue.clear()
        self._queues.clear()

    @property
    def ready(self) -> bool:
        return self._open

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        check_job_queue(queue)
        check_delay(delay)
        message_id, raw = seal(message)
        self._check_open()
        target = self._queue(queue)
        if target.full:
            raise BusUnavailable(f"the queue {queue!r} is full")
        if delay:
            target.put_later(delay, message_id, raw)
        else:
            target.put(message_id, raw)

    async def announce(self, topic: str, message: Message) -> None:
        check_topic(topic)
        message_id, raw = seal(message)
        self._check_open()
        for queue in self._queues.values():
            if any(matches(pattern, topic) for pattern in queue.patterns):
                queue.shed()
                queue.put(message_id, raw)

    @asynccontextmanager
    async def consume(
        self, queue: str, handler: Handler[M], *, accepts: Sequence[type[M]], prefetch: int = 1
    ) -> AsyncIterator[None]:
        subscription = Subscription(check_job_queue(queue), handler, accepts, prefetch, self._options)
        self._check_open()
        async with _subscribed(self._queue(queue), subscription):
            yield

    @asynccontextmanager
    async def listen(
        self,
        name: str,
        topics: Sequence[str],
        handler: Handler[M],
        *,
        accepts: Sequence[type[M]],
        durable: bool = True,
        prefetch: int = 10,
    ) -> AsyncIterator[None]:
        name = listener_queue(name) if durable else f"{listener_queue(name)}.{uuid4().hex}"
        subscription = Subscription(name, handler, accepts, prefetch, self._options)
        patterns = {check_pattern(topic) for topic in topics}
        self._check_open()
        queue = self._queue(name, parks=durable)
        queue.patterns |= patterns
        try:
            async with _subscribed(queue, subscription):
                yield
        finally:
            if not durable:
                self._queues.pop(name, queue).clear()

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        check_queue(queue)
        self._check_open()
        found = self._queues.get(queue)
        return list(found.dead)[:limit] if found else []

    async def requeue(self, queue: str, ids: Collection[str] | None = None) -> int:
        check_queue(queue)
        self._check_open()
        found = self._queues.get(queue)
        return found.revive(ids) if found else 0

    async def drop(self, queue: str) -> None:
        check_queue(queue)
        self._check_open()
        found = self._queues.get(queue)
        if found is not None:
            if found.used:
                raise QueueInUse(f"the queue {queue!r} has consumers")
            found.clear()
            del self._queues[queue]

    def _queue(self, name: str, *, parks: bool = True) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(name, self._options.backlog, parks=parks)
        return queue

    def _check_open(self) -> None:
        if not self._open:
            raise BusUnavailable("the bus is closed")


@asynccontextmanager
async def _subscribed(queue: _Queue, subscription: Subscription[Any]) -> AsyncIterator[None]:
    queue.subscribe(subscription)
    try:
        yield
    finally:
        queue.unsubscribe(subscription)
        await subscription.leave()
