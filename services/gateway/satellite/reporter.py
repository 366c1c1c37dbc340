"""A satellite's reports, from the counted call to the platform: the clock, the disk and the network of it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version as package_version
from secrets import token_hex

from libs.common import logs
from libs.common.contracts.events import CallRecord
from libs.common.contracts.launches import EntryStatus, LaunchOrder
from libs.common.contracts.satellites import EntryUsage, SatelliteReport
from libs.common.loops import tasks
from services.gateway.satellite import reports
from services.gateway.satellite.mothership import Mothership, NotTaken
from services.gateway.satellite.reports import Draft
from services.gateway.satellite.sender import Sender
from services.gateway.satellite.spool import Spool

log = logs.get(__name__)

FAREWELL_SECONDS = 3.0
"""For the last report, when the gateway stops."""

Standing = tuple[LaunchOrder, Sequence[EntryStatus]]
"""What is served, and how it is doing."""


class Reporter:
    """Args:
    instance: names this gateway.
    every: seconds from one report to the next, when there is something to tell.
    heartbeat: the same when there is nothing; also the longest pause while the platform does not take reports.
    """

    def __init__(
        self,
        spool: Spool,
        mothership: Mothership,
        *,
        instance: str,
        standing: Callable[[], Standing],
        every: float,
        heartbeat: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._instance = instance
        self._standing = standing
        self._every = every
        self._heartbeat = heartbeat
        self._clock = clock
        self._run = f"{int(clock() * 1000):013d}-{token_hex(4)}"
        self._draft = Draft(1, clock() - every)  # the first one soon
        self._told: Standing | None = None
        self._unwritten = False
        self._failing = False
        self.sender = Sender(spool, mothership, longest_pause=heartbeat)

    @property
    def waiting(self) -> int:
        """Reports that the platform has not taken."""
        return self._spool.waiting

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send reports while the context is open, and at its end what there still is. The spool is open by then."""
        try:
            async with tasks(self.sender.run()):
                yield
            with suppress(NotTaken, OSError, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    if not self._draft.is_empty:
                        await self._seal(self._clock())
                    while await self.sender.send():
                        pass
        finally:
            self._spool.close()

    async def add(self, usage: dict[str, EntryUsage], records: Sequence[CallRecord], *, dropped: int = 0) -> None:
        """What was counted and recorded since the last time. A report that is due is sealed, else kept as it is."""
        now = self._clock()
        if not self._draft.is_of_hour(now):
            await self._seal_if_due(now)
        self._draft.count(usage, dropped=dropped)
        left = deque(records)
        self._draft.take(left)
        while left:
            before = self._draft
            await self._seal_if_due(now)
            if self._draft is before:
                self._draft.take_all(left)
            self._draft.take(left)
        self._unwritten = self._unwritten or bool(usage or records or dropped)
        await self._seal_if_due(now)
        if self._unwritten and not self._draft.is_empty:
            await self._keep(now)

    async def _seal_if_due(self, now: float) -> None:
        if not self._draft.is_of_hour(now) and self._draft.is_empty:
            self._draft = Draft(self._draft.sequence, now)
        if reports.due(
            self._draft,
            now,
            changed=not self._draft.is_empty or self._standing() != self._told,
            waiting=self._spool.waiting,
            room=self._spool.has_room,
            every=self._every,
            heartbeat=self._heartbeat,
        ):
            await self._seal(now)

    async def _seal(self, now: float) -> None:
        draft, standing = self._draft, self._standing()
        document = draft.document(self._head(now, standing))
        if await self._written(self._spool.seal, draft.sequence, document):
            self._draft = Draft(draft.sequence + 1, now)
            self._told = standing
            self._unwritten = False
            self.sender.wake()

    async def _keep(self, now: float) -> None:
        document = self._draft.document(self._head(now, self._standing()))
        if await self._written(self._spool.keep_open, self._draft.sequence, document):
            self._unwritten = False

    async def _written(self, write: Callable[[str, int, bytes], None], sequence: int, document: bytes) -> bool:
        """False on a full disk and the like: then it stays in memory, and is tried again."""
        try:
            await asyncio.to_thread(write, self._run, sequence, document)
        except OSError as error:
            if not self._failing:
                log.error("reports_not_kept", reason=error.strerror or str(error), consequence="a restart loses them")  # noqa: TRY400 - the reason is all there is
            self._failing = True
            return False
        self._failing = False
        return True

    def _head(self, now: float, standing: Standing) -> SatelliteReport:
        order, entries = standing
        return SatelliteReport(
            launch_id=order.launch_id,
            deployment_id=order.deployment_id,
            satellite_version=order.satellite_version,
            instance=self._instance,
            run=self._run,
            sequence=self._draft.sequence,
            at=reports.closing(self._draft, now),
            version=package_version("constellation")[:64],
            entries=tuple(entries),
        )
