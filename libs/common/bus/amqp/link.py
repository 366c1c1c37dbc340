"""A connection to the broker that is opened again whenever it is lost, and what is done over it step by step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPChannelError,
    AuthenticationError,
    ChannelPreconditionFailed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from libs.common import logs
from libs.common.bus.amqp.topology import QueueSpec, Topology
from libs.common.bus.protocol import BusRefused
from libs.common.bus.subscriptions import was_cancelled

log = logs.get(__name__)

HEARTBEAT_SECONDS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
_CLOSE_SECONDS = 2.0
_PORTS = {"amqp": 5672, "amqps": 5671}


class LinkLost(Exception):
    """The connection, or a channel that should have lived, ended."""


@dataclass(frozen=True)
class Broker:
    """Where the broker is. Only `address` may be shown: the URL holds the password."""

    url: str = field(repr=False)
    address: str

    @classmethod
    def at(cls, url: str) -> Self:
        """Raises ValueError, which does not quote the URL."""
        try:
            parts = urlsplit(url)
            usual = _PORTS[parts.scheme]
            port = parts.port or usual
        except (KeyError, ValueError):
            parts = None
        if parts is None or not parts.hostname:
            raise ValueError("the bus URL is not of the form amqp://user:password@host:port/virtual-host")
        return cls(url, f"{parts.hostname}:{port}")


@dataclass(eq=False)
class Session:
    """One connection's life. `channel` confirms what is published on it; when it ends, so does the session."""

    connection: AbstractConnection
    channel: AbstractChannel
    deadline: float
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    declared: set[str] = field(default_factory=set)


class Link:
    """A connection that is kept up. Its URL is in no log and in no error."""

    def __init__(self, broker: Broker, purpose: str, topology: Topology, deadline: float) -> None:
        self._broker = broker
        self._purpose = purpose
        self._topology = topology
        self.deadline = deadline
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._down_since = 0.0
        self._keeper: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self._up.is_set()

    @property
    def address(self) -> str:
        return self._broker.address

    @property
    def patience(self) -> float:
        """Seconds that an operation may take: an outage is waited out for one deadline from its start."""
        if self.up:
            return self.deadline
        return max(0.0, self._down_since + self.deadline - asyncio.get_running_loop().time())

    async def open(self) -> None:
        """Try to connect once, then keep trying in the background. Raises BusRefused."""
        self._down_since = asyncio.get_running_loop().time()
        try:
            await self._connect()
        except (AuthenticationError, ProbableAuthenticationError):
            raise BusRefused(
                f"the broker at {self.address} refuses the user or the password of the bus URL"
            ) from None
        except InvalidFrameError:
            # The client says so when the broker closes the connection instead of opening the virtual host.
            raise BusRefused(f"the broker at {self.address} does not open the virtual host of the bus URL") from None
        except (LinkLost, *CONNECTION_EXCEPTIONS) as error:
            self._warn(error)
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeper is not None:
            await ended(self._keeper)
        self._up.clear()
        self._down_since = float("-inf")
        if self._session is not None:
            self._session.lost.set()
            await quietly(self._session.connection.close())

    async def session(self) -> Session:
        """The session, as soon as there is one."""
        while self._session is None or self._session.lost.is_set():
            await self._up.wait()
        return self._session

    def lose(self, session: Session, error: BaseException | None) -> None:
        """The session is of no more use. Another one is opened."""
        if not session.lost.is_set():
            log.warning("bus_connection_lost", broker=self.address, reason=str(error))
            session.lost.set()
            self._up.clear()
            self._down_since = asyncio.get_running_loop().time()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        while True:
            lived = await self._outlive()
            pause = min(2 * pause, LONGEST_PAUSE) if lived < LONGEST_PAUSE else FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            try:
                await self._connect()
            except Exception as error:  # whatever it is, there must be another attempt
                self._warn(error)

    async def _outlive(self) -> float:
        """Wait until there is no session. Returns how many seconds that took."""
        clock = asyncio.get_running_loop().time
        began = clock()
        if self._session is not None:
            await self._session.lost.wait()
            await quietly(self._session.connection.close())
            self._session = None
        return clock() - began

    async def _connect(self) -> None:
        async with asyncio.timeout(self.deadline):
            name = f"constellation {self._purpose}"
            connection = await aio_pika.connect(self._broker.url, heartbeat=HEARTBEAT_SECONDS, name=name)
            try:
                with link_errors():
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                    await channel.declare_exchange(self._topology.jobs, aio_pika.ExchangeType.DIRECT, durable=True)
                    await channel.declare_exchange(self._topology.events, aio_pika.ExchangeType.TOPIC, durable=True)
            except BaseException:
                await quietly(connection.close())
                raise
        session = Session(connection, channel, self.deadline)
        for ending in (connection, channel):
            ending.close_callbacks.add(lambda _, error: self.lose(session, error))
        self._session = session
        self._up.set()

    def _warn(self, error: Exception) -> None:
        log.warning("bus_unreachable", broker=self.address, reason=f"{type(error).__name__}: {error}")


@contextmanager
def link_errors() -> Iterator[None]:
    """Raises LinkLost for all that the client raises when a connection ends under it.

    What the broker answers about one channel or message stays what it is. The client confuses ends of connections
    with cancellations: it cancels what waits for a connection that ended, and may raise something else when it is
    cancelled. Here a cancellation stays one, and nothing else becomes one.
    """
    try:
        yield
    except (asyncio.CancelledError, *CONNECTION_EXCEPTIONS) as error:
        if was_cancelled():
            raise asyncio.CancelledError from None
        if isinstance(error, AMQPChannelError | DeliveryError):
            raise
        raise LinkLost(f"{type(error).__name__}: {error}") from None


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task that waits for the client, and wait for its end.

    The client can lose a cancellation, so it is repeated. It is not passed on when who waits here is cancelled, for
    the task has to clean up.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=2 * _CLOSE_SECONDS)


async def quietly(closing: Awaitable[object]) -> None:
    """Close something that may be gone already."""
    with suppress(LinkLost, AMQPChannelError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            with link_errors():
                await closing


@asynccontextmanager
async def open_channel(session: Session) -> AsyncIterator[AbstractChannel]:
    """A channel for a few steps. Raises LinkLost and TimeoutError."""
    async with asyncio.timeout(session.deadline):
        with link_errors():
            channel = await session.connection.channel(publisher_confirms=False)
    try:
        yield channel
    finally:
        await quietly(channel.close())


async def declare(session: Session, spec: QueueSpec) -> None:
    """Make sure of a queue and its bindings.

    A queue that exists with other arguments is used as it is, so that one release can follow another.

    Raises:
        LinkLost: the connection ended.
        AMQPChannelError: the broker refuses.
    """
    try:
        async with open_channel(session) as channel:
            with link_errors():
                await channel.declare_queue(
                    spec.name, durable=not spec.exclusive, exclusive=spec.exclusive, arguments=spec.arguments
                )
    except ChannelPreconditionFailed as error:
        log.warning("bus_queue_differs", queue=spec.name, reason=str(error))
    if spec.exchange is not None:
        async with open_channel(session) as channel:
            with link_errors():
                queue = await channel.get_queue(spec.name, ensure=False)
                for key in spec.keys:
                    await queue.bind(spec.exchange, key)
    session.declared.add(spec.name)
