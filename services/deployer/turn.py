"""One turn of the planner: when it is, and what it can tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


class Watch:
    """Since when reports could have been heard without a gap. A gap makes the silence of workers mean nothing.

    Args:
        gap: two looks that are further apart than this have a gap between them: the process or the database stood
            still.
    """

    def __init__(self, gap: timedelta) -> None:
        self.gap = gap
        self._since: datetime | None = None
        self._last: datetime | None = None

    def look(self, now: datetime) -> datetime:
        """Note that the rows could be read just now."""
        if self._since is None or self._last is None or now - self._last > self.gap:
            self._since = now
        self._last = now
        return self._since


@dataclass(frozen=True)
class Turn:
    """
    Attributes:
        watching_since: since when reports of workers could have arrived without a gap.
        watched: that is long enough ago for a report that is missing to mean something.
        unwatched: for so long nobody planned before this turn, which counts against no deadline.
        behind: somebody planned with a newer catalog: what is missing in ours may exist, and what differs may be
            right.
    """

    now: datetime
    watching_since: datetime
    watched: bool = True
    unwatched: timedelta = timedelta()
    behind: bool = False
