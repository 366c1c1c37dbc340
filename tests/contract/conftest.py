"""What the tests of the bus share: connections to one bus of either kind, messages, and handlers that record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Protocol
from uuid import uuid4

import pytest
import structlog

from libs.common.bus import Bus, MemoryBus, Options, open_bus
from tests.support.rabbitmq import RabbitMQ

FAST = Options(retries=(0.02, 0.05), deadline=60, grace=60)
"""Failed jobs come again at once; all else has time."""


class Connect(Protocol):
    """Another participant of the same bus. The options of the first one count where all share a process."""

    async def __call__(self, options: Options = FAST) -> Bus: ...


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Handlers fail by design here, and structlog's default drawing of a traceback takes longer than most tests."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.KeyValueRenderer(key_order=["event"])])
    yield
    structlog.configure(**before)


@pytest.fixture(params=["memory", "amqp"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:
        shared: list[MemoryBus] = []
        namespace = uuid4().hex[:12]

        async def memory(options: Options = FAST) -> Bus:
            if not shared:
                shared.append(await stack.enter_async_context(MemoryBus(options)))
            return shared[0]

        async def amqp(options: Options = FAST) -> Bus:
            node: RabbitMQ = request.getfixturevalue("rabbitmq")
            return await stack.enter_async_context(open_bus(node.url, options, namespace=namespace))

        if request.param == "amqp":
            request.getfixturevalue("rabbitmq")
            yield amqp
        else:
            yield memory


@pytest.fixture
async def bus(connect: Connect) -> Bus:
    return await connect()
