"""Records of calls, on their way to the bus.

A call leaves a tuple here and goes on. The records are announced in batches, at a bounded rate: more calls than that
fill a bounded backlog, and then the oldest records are dropped and counted, never the calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from libs.common import logs
from libs.common.bus import Bus
from libs.common.contracts.events import CALLS_TOPIC, CallRecord, CallsRecorded
from libs.common.text import storable
from services.gateway.calls import MOST_TEXT, Record
from services.gateway.tally import Gauges

log = logs.get(__name__)

EVERY_SECONDS = 1.0
BATCH = 100
"""Records of one message: what takes so long to write that calls would notice is sent in parts."""
BATCHES = 20
"""Messages at a time."""
PAUSE_SECONDS = 0.02
"""Between messages."""
FAREWELL_SECONDS = 2.0
"""For what there still is when the gateway stops."""
_MOST_KIND = 200
"""Characters of an error's type that are kept: algorithms choose it."""
_MOST_REFERENCE = 300
"""The same of a reference."""


class Records:
    """Args:
    backlog: most records that wait.
    gateway: this gateway's instance id.
    """

    def __init__(self, backlog: int, gateway: Callable[[], str]) -> None:
        self._most = backlog
        self._backlog: deque[Record] = deque(maxlen=backlog)
        self._gateway = gateway
        self._taken = 0
        self._sent = 0

    def add(self, record: Record) -> None:
        self._taken += 1
        self._backlog.append(record)

    @property
    def gauges(self) -> Gauges:
        return {
            "constellation_call_records_waiting": ("Records that wait to be passed on.", lambda: self.waiting),
            "constellation_call_records_dropped": ("Records that were lost.", lambda: self.dropped),
        }

    @property
    def waiting(self) -> int:
        return len(self._backlog)

    @property
    def dropped(self) -> int:
        return self._taken - self._sent - len(self._backlog)

    def take(self, most: int) -> tuple[CallRecord, ...]:
        """The oldest records, which are no business of this any more."""
        batch = self._next(most)
        self._sent += len(batch)
        return tuple(record for _, record in batch)

    async def run(self, bus: Bus) -> None:
        """Announce until cancelled, and then what there still is."""
        failing = False
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                try:
                    await self.flush(bus)
                    failing = False
                except Exception as error:  # whatever the bus has: the backlog is bounded, and calls go on
                    if not failing:
                        log.warning("records_not_announced", waiting=self.waiting, reason=type(error).__name__)
                    failing = True
        finally:
            await self._announce_rest(bus)

    async def flush(self, bus: Bus) -> None:
        """Announce the oldest records, a bounded number of them. Raises what the bus raises; they are kept then."""
        for _ in range(BATCHES):
            if not self._backlog:
                return
            batch = self._next(BATCH)
            if not batch:
                continue
            message = CallsRecorded(gateway=self._gateway(), records=tuple(record for _, record in batch))
            try:
                await bus.announce(CALLS_TOPIC, message)
            except BaseException:
                room = self._most - len(self._backlog)
                self._backlog.extendleft(one for one, _ in reversed(batch[len(batch) - min(room, len(batch)) :]))
                raise
            self._sent += len(batch)
            if self._backlog:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _announce_rest(self, bus: Bus) -> None:
        with suppress(Exception):  # whatever the bus has, the gateway stops
            async with asyncio.timeout(FAREWELL_SECONDS):
                while self._backlog:
                    await self.flush(bus)
        if self._backlog:
            log.warning("records_lost", count=self.waiting)

    def _next(self, most: int) -> list[tuple[Record, CallRecord]]:
        """Take out the oldest. What is no record, as a call would leave it, is dropped."""
        batch = []
        for _ in range(min(most, len(self._backlog))):
            one = self._backlog.popleft()
            try:
                batch.append((one, _record(one)))
            except ValueError:
                log.exception("record_dropped", request_id=one[0])
        return batch


def _record(record: Record) -> CallRecord:
    (
        request_id,
        at,
        account,
        algorithm_id,
        revision_id,
        reference,
        seconds,
        status,
        kind,
        message,
        input_head,
        parent,
    ) = record
    return CallRecord(
        request_id=request_id,
        at=datetime.fromtimestamp(at, UTC),
        account=account,
        algorithm_id=algorithm_id,
        revision_id=revision_id,
        reference=storable(reference, _MOST_REFERENCE),
        duration_seconds=seconds,
        status=status,
        error_type=_storable(kind, _MOST_KIND),
        error=_storable(message, MOST_TEXT),
        input_head=_storable(input_head, MOST_TEXT),
        parent=parent,
    )


def _storable(text: str | None, limit: int) -> str | None:
    return storable(text, limit) if text is not None else None
