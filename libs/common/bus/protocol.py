"""The bus: jobs for one of several consumers, and events for whoever listens.

What every implementation keeps, and `tests/contract/test_bus.py` proves:

* At least once. A message is taken off its queue after its handler returned. Handlers are idempotent: a lost link, a
  killed process or a broker that restarts can bring a message again.
* A handler that raises gets the message again after each pause of `Options.retries`, at the end of the queue. After
  the last attempt the message is parked in the queue's dead letters with the reason. So is, at once, a message whose
  kind, version or body is not among what the consumer accepts. Neither holds up the messages behind it.
* Jobs: consumers of one queue compete, and each has at most `prefetch` handlers running. Without failures a queue is
  first in, first out. A job waits for a consumer as long as need be.
* Events: each listener name gets each event whose topic matches, once; instances under one name share them. An event
  that nobody listens to is dropped. A listener that is not durable has a queue of its own for as long as it is
  connected, misses what is announced meanwhile, and its failed events are dropped after the last attempt.
* Topics are words joined by dots. In a pattern `*` is one word and `#` any number of words.
* Leaving `consume` or `listen` stops taking messages, lets running handlers end within `Options.grace`, then cancels
  them. What is unfinished goes back to the queue, in its old place.
* A queue holds at most about `Options.backlog` messages. A job too many is refused (`BusUnavailable`); an event too
  many parks the listener's oldest one; a dead letter too many drops the oldest one.
* Handlers run in a copy of the context in which `consume` or `listen` was called, with the request id and the trace
  of the sender.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, TypeVar

from libs.common.contracts.messages import Message

M = TypeVar("M", bound=Message)
Handler = Callable[[M], Awaitable[object]]

MAX_MESSAGE_BYTES = 8 * 2**20
"""Of an envelope. What is larger belongs in the blob store."""
MAX_DELAY_SECONDS = 86_400.0

_LISTENER_PREFIX = "events."
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED = re.compile(r".*\.(dead|retry\.\d+)")
_TOPIC = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PATTERN = re.compile(r"([A-Za-z0-9_-]+|\*|#)(\.([A-Za-z0-9_-]+|\*|#))*")


class BusUnavailable(Exception):
    """The message is not known to be kept: no broker, no confirmation in time, or the queue is full."""


class BusRefused(Exception):
    """The broker does not let us in: wrong credentials, or no such virtual host."""


class QueueInUse(Exception):
    """The queue cannot be dropped: somebody consumes it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How patient a bus is. Times in seconds."""

    retries: tuple[float, ...] = (1.0, 5.0, 30.0)
    """Pauses between attempts: there is one attempt more than pauses."""
    deadline: float = 5.0
    """For the confirmation of a message. Also how long after a broker went away messages still wait for it; later
    ones are refused at once."""
    grace: float = 10.0
    """For running handlers when their consumer leaves."""
    backlog: int = 100_000

    def __post_init__(self) -> None:
        for pause in self.retries:
            check_delay(pause)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One handing over of a message."""

    id: str
    """Of the message."""
    queue: str
    attempt: int
    """From 1. Counts failures of the handler, not deliveries that ended with their process."""
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A parked message."""

    id: str
    queue: str
    reason: str
    attempts: int
    parked_at: datetime | None
    """None where the broker parked the message and does not say when."""
    body: str
    """The envelope, or whatever was sent in its place."""


class Bus(Protocol):
    """See the module's documentation. An async context manager: open it before use."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def ready(self) -> bool:
        """Messages can be sent and taken just now, as far as is known."""

    async def send(self, queue: str, message: Message, *, delay: float = 0) -> None:
        """Put a job in a queue, or there after `delay` seconds (at most a day; rounded up by a third at most).

        Returns when the message is safely kept.

        Raises:
            BusUnavailable: it is not, as far as is known. It may arrive nevertheless.
            ValueError: the queue's name, the delay or the message's size is not allowed.
        """

    async def announce(self, topic: str, message: Message) -> None:
        """Tell an event to all that listen to its topic. Raises as `send` does."""

    def consume(
        self, queue: str, handler: Handler[M], *, accepts: Sequence[type[M]], prefetch: int = 1
    ) -> AbstractAsyncContextManager[None]:
        """Handle the jobs of a queue while the context is open, `prefetch` at once.

        Waits for the broker at first, but not longer than `Options.deadline`, and takes up work when it is there.
        A handler must end within the broker's acknowledgement timeout (RabbitMQ: 30 minutes). One that takes several
        types says so: `accepts: Sequence[type[A | B]] = (A, B)`.
        """

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
        """Handle the events of some topics while the context is open, `prefetch` at once.

        A durable listener that comes back gets what it missed. Its topics can grow; to listen to fewer, take a new
        name and `drop` the old one.
        """

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of a queue (`listener_queue(name)` for a listener's). They stay parked.

        While one caller looks, another may see fewer.
        """

    async def requeue(self, queue: str, ids: Collection[str] | None = None) -> int:
        """Give dead letters a new life at the end of their queue: all, or those with the ids. Returns how many."""

    async def drop(self, queue: str) -> None:
        """Forget a queue with all its messages, the delayed and the dead ones too.

        Raises:
            QueueInUse: it has consumers. Nothing was dropped.
            BusUnavailable: the broker did not say that it is done.
        """


_delivery: ContextVar[Delivery] = ContextVar("delivery")


def delivery() -> Delivery:
    """The delivery that the running handler handles. Raises LookupError outside of handlers."""
    return _delivery.get()


def set_delivery(current: Delivery) -> None:
    """For implementations: what `delivery` returns in this context."""
    _delivery.set(current)


def listener_queue(name: str) -> str:
    """The queue that holds the events of a durable listener."""
    return check_queue(f"{_LISTENER_PREFIX}{name}")


def check_queue(name: str) -> str:
    """The name, if a queue can have it. Raises ValueError otherwise."""
    if not _QUEUE.fullmatch(name) or _RESERVED.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a queue: use up to 128 letters, digits, '.', '_' and '-', not ending in"
            " '.dead' or '.retry.<number>'"
        )
    return name


def check_job_queue(name: str) -> str:
    """The name, if a queue of jobs can have it. Raises ValueError otherwise."""
    if name.startswith(_LISTENER_PREFIX):
        raise ValueError(f"{name!r} cannot name a queue of jobs: '{_LISTENER_PREFIX}' is for listeners")
    return check_queue(name)


def check_topic(topic: str) -> str:
    """The topic, if an event can have it. Raises ValueError otherwise."""
    if len(topic) > 128 or not _TOPIC.fullmatch(topic):
        raise ValueError(f"{topic!r} is not a topic: use words of letters, digits, '_' and '-', joined by dots")
    return topic


def check_pattern(pattern: str) -> str:
    """The pattern, if one can listen to it. Raises ValueError otherwise."""
    if len(pattern) > 128 or not _PATTERN.fullmatch(pattern):
        raise ValueError(
            f"{pattern!r} is not a pattern of topics: each word is letters, digits, '_', '-', '*' or '#'"
        )
    return pattern


def check_delay(delay: float) -> float:
    """The delay, if a message can have it. Raises ValueError otherwise."""
    if not 0 <= delay <= MAX_DELAY_SECONDS:
        raise ValueError(f"a message cannot be delayed by {delay} s: choose 0 to {MAX_DELAY_SECONDS:.0f}")
    return delay
