"""Time that costs nothing to read."""

from __future__ import annotations

import time


class Clock:
    """Monotonic seconds, as of the last `tick`. Good to a fraction of a second, which is what deadlines here need."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def tick(self) -> float:
        self.now = time.monotonic()
        return self.now
