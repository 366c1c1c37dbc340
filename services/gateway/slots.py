"""How many calls one account or chain has under way."""

from __future__ import annotations


class Slots:
    """Counts by name. Names without a count take no memory."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def enter(self, name: str, limit: int) -> bool:
        """Take one, unless `limit` are taken."""
        taken = self._taken.get(name, 0)
        if taken >= limit:
            return False
        self._taken[name] = taken + 1
        return True

    def leave(self, name: str) -> None:
        left = self._taken[name] - 1
        if left:
            self._taken[name] = left
        else:
            del self._taken[name]
