"""Git processes that run at once: so many in all, and so many for each account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class GitSlots:
    """Who has had its share waits for its own, so that nobody's slow requests keep others out."""

    def __init__(self, most: int, *, of_account: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._of_account = of_account
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Of accounts that have a request here."""

    @asynccontextmanager
    async def of(self, account: str) -> AsyncIterator[None]:
        """Wait for a slot, and have it while the context is open."""
        share = self._shares.setdefault(account, asyncio.Semaphore(self._of_account))
        async with share, self._all:
            yield
