"""How often somebody may do something: counted over a sliding window, in memory.

Each instance of fakts counts for itself, and forgets when it restarts.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from libs.common.problems import TooMany


class Rate:
    """At most `allowed` times in `seconds`, per subject such as an address.

    Args:
        what: is counted, in words.
    """

    def __init__(
        self,
        allowed: int,
        seconds: float,
        *,
        what: str = "requests",
        subjects: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._seconds = seconds
        self._what = what
        self._subjects = subjects
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, subject: str) -> None:
        """Raises TooMany while the subject has used up what it may."""
        seen = self._seen.get(subject)
        if seen is None:
            return
        now = self._clock()
        while seen and seen[0] <= now - self._seconds:
            seen.popleft()
        if len(seen) >= self._allowed:
            wait = max(1, round(seen[0] + self._seconds - now))
            raise TooMany(f"too many {self._what}; try again in {wait} s", retry_after=wait)

    def count(self, subject: str) -> None:
        """It was done once more."""
        seen = self._seen.setdefault(subject, deque(maxlen=self._allowed))
        seen.append(now := self._clock())
        self._seen.move_to_end(subject)
        while len(self._seen) > self._subjects or self._is_quiet(next(iter(self._seen.values())), now):
            self._seen.popitem(last=False)

    def take(self, subject: str) -> None:
        """Check, then count. Raises TooMany."""
        self.check(subject)
        self.count(subject)

    def _is_quiet(self, seen: deque[float], now: float) -> bool:
        return not seen or seen[-1] <= now - self._seconds
