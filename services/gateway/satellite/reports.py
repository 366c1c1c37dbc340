"""What a satellite's gateway tells the platform of itself, while it is being put together. Pure.

One report is open at a time: calls are counted in it until it is sealed. While the platform cannot be reached, what
follows goes into the same report, for as long as its hour lasts and it has room, so that a long absence makes few of
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from libs.common.contracts.events import CallRecord
from libs.common.contracts.launches import EntryStatus, LaunchOrder
from libs.common.contracts.replicas import Route
from libs.common.contracts.satellites import EntryUsage, SatelliteReport
from libs.common.text import storable

MOST_RECORDS = 500
MOST_BYTES = 1 << 20
"""Of the records of one report."""
_MOST_REASON = 500
"""Characters of why replicas are missing, which may be an algorithm's words."""
_HOUR = 3600


class Counter:
    """Counts the calls of each entry, as they end."""

    def __init__(self) -> None:
        self._counts: dict[str, list[float]] = {}

    def know(self, vanity_urls: Iterable[str]) -> None:
        """These are the entries from now on. What was counted of others is told once more."""
        for vanity_url in vanity_urls:
            self._counts.setdefault(vanity_url, [0, 0, 0.0])

    def count(self, reference: str, seconds: float, *, failed: bool) -> None:
        """On the way of every call. A reference that is no entry's is not counted."""
        counts = self._counts.get(reference)
        if counts is not None:
            counts[0] += 1
            counts[1] += failed
            counts[2] += seconds

    def take(self) -> dict[str, EntryUsage]:
        """What was counted since the last time."""
        taken = {}
        for vanity_url, counts in self._counts.items():
            if counts[0]:
                calls, errors, seconds = counts
                taken[vanity_url] = EntryUsage(
                    vanity_url=vanity_url, calls=int(calls), errors=int(errors), seconds=seconds
                )
                counts[:] = [0, 0, 0.0]
        return taken


class Draft:
    """The report that is open."""

    def __init__(self, sequence: int, now: float) -> None:
        """Args:
        now: Unix time. It is of the hour that this is in.
        """
        self.sequence = sequence
        self.opened = now
        self.usage: dict[str, EntryUsage] = {}
        self._records: deque[bytes] = deque()
        self._bytes = 0
        self.dropped = 0

    @property
    def is_empty(self) -> bool:
        return not (self.usage or self._records or self.dropped)

    @property
    def is_full(self) -> bool:
        return len(self._records) >= MOST_RECORDS or self._bytes >= MOST_BYTES

    def is_of_hour(self, now: float) -> bool:
        return int(now) // _HOUR == int(self.opened) // _HOUR

    def count(self, usage: Mapping[str, EntryUsage], *, dropped: int = 0) -> None:
        """More calls of the same hour, and records of them that were lost before they came here."""
        self.dropped += dropped
        for vanity_url, more in usage.items():
            before = self.usage.get(vanity_url)
            self.usage[vanity_url] = _sum(before, more) if before is not None else more

    def take(self, records: deque[CallRecord]) -> None:
        """Take records, for as long as there is room."""
        while records and not self.is_full:
            written = records.popleft().model_dump_json(exclude_none=True).encode()
            self._records.append(written)
            self._bytes += len(written)

    def take_all(self, records: deque[CallRecord]) -> None:
        """Take records where no further report may be begun: the oldest go, and are counted."""
        while records:
            while self.is_full:
                self._bytes -= len(self._records.popleft())
                self.dropped += 1
            self.take(records)

    def document(self, head: SatelliteReport) -> bytes:
        """The report in JSON.

        Args:
            head: all but what is in here.
        """
        whole = head.model_copy(
            update={
                "sequence": self.sequence,
                "usage": tuple(self.usage[name] for name in sorted(self.usage)),
                "dropped": self.dropped,
            }
        )
        members = whole.model_dump_json(exclude={"records"}).encode()
        return b'%b,"records":[%b]}' % (members[:-1], b",".join(self._records))


def due(draft: Draft, now: float, *, changed: bool, waiting: int, room: bool, every: float, heartbeat: float) -> bool:
    """Is the draft to be sealed now?

    Args:
        changed: something is other than in the report before.
        waiting: sealed reports that the platform did not take yet.
        room: there is room for more of them.
        every: seconds from one report to the next, when there is something to tell.
        heartbeat: the same when there is nothing.
    """
    if not draft.is_of_hour(now):
        return not draft.is_empty
    if draft.is_full:
        return room
    age = now - draft.opened
    return not waiting and (age >= heartbeat or (changed and age >= every))


def closing(draft: Draft, now: float) -> datetime:
    """The moment that a report tells of: now, but within the hour of what it counts."""
    end = (int(draft.opened) // _HOUR + 1) * _HOUR - 0.001
    return datetime.fromtimestamp(max(min(now, end), draft.opened), UTC)


def statuses(
    order: LaunchOrder, routes: Mapping[str, Route | None], reasons: Mapping[str, str]
) -> tuple[EntryStatus, ...]:
    """How each entry is doing.

    Args:
        routes: by vanity URL.
        reasons: why replicas are missing, by vanity URL, where that is known.
    """
    found = []
    for entry in order.entries:
        route = routes.get(entry.vanity_url)
        ready = len(route.replicas) if route is not None else 0
        reason = None
        if ready < entry.replicas:
            said = reasons.get(entry.vanity_url) or (route.failure if route is not None else None)
            reason = storable(said, _MOST_REASON) if said else f"{ready} of {entry.replicas} replicas were found"
        found.append(
            EntryStatus(
                vanity_url=entry.vanity_url,
                algorithm=entry.algorithm,
                desired=entry.replicas,
                ready=ready,
                reason=reason,
            )
        )
    return tuple(found)


def without_records(document: bytes) -> bytes:
    """A report that takes less room: its records are given up, and counted. Raises ValueError for what is none."""
    report = SatelliteReport.model_validate_json(document)
    thin = report.model_copy(update={"records": (), "dropped": report.dropped + len(report.records)})
    return thin.model_dump_json().encode()


def batch(documents: Sequence[bytes]) -> bytes:
    """`contracts/satellites.py` SatelliteReports of them."""
    return b'{"reports":[%b]}' % b",".join(documents)


def _sum(one: EntryUsage, other: EntryUsage) -> EntryUsage:
    return EntryUsage(
        vanity_url=one.vanity_url,
        calls=one.calls + other.calls,
        errors=one.errors + other.errors,
        seconds=one.seconds + other.seconds,
    )
