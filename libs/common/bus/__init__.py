"""The bus: jobs for one of several consumers, and events for whoever listens. See `protocol.py` for its promises."""

from __future__ import annotations

from libs.common.bus.memory import MemoryBus
from libs.common.bus.protocol import (
    Bus,
    BusRefused,
    BusUnavailable,
    DeadLetter,
    Delivery,
    Handler,
    Options,
    QueueInUse,
    delivery,
    listener_queue,
)

__all__ = [
    "Bus",
    "BusRefused",
    "BusUnavailable",
    "DeadLetter",
    "Delivery",
    "Handler",
    "MemoryBus",
    "Options",
    "QueueInUse",
    "delivery",
    "listener_queue",
    "open_bus",
]


def open_bus(url: str, options: Options | None = None, *, namespace: str = "") -> Bus:
    """The bus over a broker, to be opened with `async with`. The URL: `amqp://user:password@host:port/virtual-host`.

    Raises ValueError when the URL is none of a broker.
    """
    from libs.common.bus.amqp import AmqpBus  # noqa: PLC0415 - a process with the memory bus loads no AMQP client

    return AmqpBus(url, options, namespace=namespace)
