"""Messages and handlers for tests of the bus."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from libs.common.bus import Delivery, delivery
from libs.common.contracts.messages import Message


class Job(Message):
    kind: ClassVar[str] = "test.job"
    version: ClassVar[int] = 1

    number: int


class OtherJob(Message):
    kind: ClassVar[str] = "test.other"
    version: ClassVar[int] = 1

    text: str


class NewerJob(Message):
    """What a newer release sends where this one expects a Job."""

    kind: ClassVar[str] = "test.job"
    version: ClassVar[int] = 2

    number: int


class MisshapenJob(Message):
    """Says that it is a Job, and is not."""

    kind: ClassVar[str] = "test.job"
    version: ClassVar[int] = 1

    number: str


class Recorder:
    """A handler that keeps the numbers of the jobs it saw, and their deliveries.

    Args:
        fails: how often each job fails before it succeeds.
    """

    def __init__(self, fails: int = 0) -> None:
        self.numbers: list[int] = []
        self.deliveries: list[Delivery] = []
        self._fails = fails

    async def __call__(self, job: Job) -> None:
        self.numbers.append(job.number)
        self.deliveries.append(delivery())
        if delivery().attempt <= self._fails:
            raise RuntimeError(f"job {job.number} fails")


class Blocker:
    """A handler that stays in its jobs until `release` is set. Knows how many it is in, was in at most, and ended."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.inside: list[int] = []
        self.most = 0
        self.done: list[int] = []
        self.cancelled: list[int] = []

    async def __call__(self, job: Job) -> None:
        self.inside.append(job.number)
        self.most = max(self.most, len(self.inside))
        try:
            await self.release.wait()
            self.done.append(job.number)
        except asyncio.CancelledError:
            self.cancelled.append(job.number)
            raise
        finally:
            self.inside.remove(job.number)
