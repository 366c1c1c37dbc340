"""Names and arguments of what the bus declares on a RabbitMQ broker (3.10 or newer).

| what | name | holds |
|---|---|---|
| direct exchange | `jobs` | routes a job to the queue it names |
| topic exchange | `events` | routes an event to the queues of its listeners |
| queue | `build`, `events.audit` | jobs of a queue, events of a durable listener |
| queue | `build.dead` | parked messages |
| queue | `build.retry.5000` | messages that return to `build` after 5 s |

All are durable quorum queues: replicated on a cluster, synced to disk before a message is confirmed. Their arguments
are never changed, for a broker refuses to declare a queue that exists with others. A listener that is not durable
has exclusive queues, which end with its connection. A namespace goes before each name, for deployments that share a
virtual host.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from libs.common.bus.protocol import MAX_DELAY_SECONDS

DELIVERY_LIMIT = 20
"""Deliveries without an answer, after which the broker parks a message: its handler kills the process."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{0,32}")
_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
_DELAYS_MS = tuple(
    sorted(
        {
            step * 10**power // 10
            for power in range(9)
            for step in _STEPS
            if step * 10**power // 10 <= MAX_DELAY_SECONDS * 1000
        }
        | {int(MAX_DELAY_SECONDS * 1000)}
    )
)
"""The delays that have a queue, so that a queue has a bounded number of them however senders choose their delays."""

_QUORUM = {"x-queue-type": "quorum"}
_DIRECTLY_TO = {"x-dead-letter-exchange": ""}
_LOSING_NONE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
# Looking at dead letters takes and returns them. Brokers from 4.0 would drop them after 20 looks.
_UNLIMITED = {"x-delivery-limit": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue to declare."""

    name: str
    arguments: dict[str, Any]
    exchange: str | None = None
    keys: tuple[str, ...] = ()
    """What it gets from the exchange."""
    exclusive: bool = False


class Topology:
    """The names and queues of one deployment."""

    def __init__(self, namespace: str, backlog: int) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{namespace!r} is no namespace: use up to 32 letters, digits, '_' and '-'")
        self._prefix = f"{namespace}." if namespace else ""
        self._backlog = backlog
        self.jobs = f"{self._prefix}jobs"
        self.events = f"{self._prefix}events"

    def name(self, queue: str) -> str:
        """A queue's name on the broker."""
        return f"{self._prefix}{queue}"

    def dead_name(self, queue: str) -> str:
        return f"{self.name(queue)}.dead"

    def job_queue(self, queue: str) -> QueueSpec:
        arguments = {**self._parking(queue), **_LOSING_NONE, "x-max-length": self._backlog}
        return QueueSpec(self.name(queue), arguments, self.jobs, (self.name(queue),))

    def listener_queue(self, queue: str, patterns: tuple[str, ...]) -> QueueSpec:
        arguments = {**self._parking(queue), "x-overflow": "drop-head", "x-max-length": self._backlog}
        return QueueSpec(self.name(queue), arguments, self.events, patterns)

    def own_queue(self, queue: str, patterns: tuple[str, ...]) -> QueueSpec:
        """The queue of a listener that is not durable."""
        arguments = {"x-overflow": "drop-head", "x-max-length": self._backlog}
        return QueueSpec(self.name(queue), arguments, self.events, patterns, exclusive=True)

    def dead_queue(self, queue: str) -> QueueSpec:
        arguments = {**_QUORUM, **_UNLIMITED, "x-overflow": "drop-head", "x-max-length": self._backlog}
        return QueueSpec(self.dead_name(queue), arguments)

    def delay_queue(self, queue: str, seconds: float, *, exclusive: bool = False) -> QueueSpec:
        """The queue whose messages go to `queue` after the delay."""
        milliseconds = _DELAYS_MS[bisect_left(_DELAYS_MS, seconds * 1000)]
        arguments = {
            **_DIRECTLY_TO,
            "x-dead-letter-routing-key": self.name(queue),
            "x-message-ttl": milliseconds,
            **({} if exclusive else {**_QUORUM, **_LOSING_NONE}),
        }
        return QueueSpec(f"{self.name(queue)}.retry.{milliseconds}", arguments, exclusive=exclusive)

    def names(self, queue: str) -> list[str]:
        """All that a queue can consist of on the broker, itself first."""
        own = self.name(queue)
        return [own, *(f"{own}.retry.{milliseconds}" for milliseconds in _DELAYS_MS), self.dead_name(queue)]

    def _parking(self, queue: str) -> dict[str, Any]:
        return {
            **_QUORUM,
            **_DIRECTLY_TO,
            "x-dead-letter-routing-key": self.dead_name(queue),
            "x-delivery-limit": DELIVERY_LIMIT,
        }
