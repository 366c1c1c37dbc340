"""Waking those who wait for news of a row in this process. News from elsewhere is found by looking again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID


class Signals:
    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        """Rows that somebody waits for."""
        return len(self._waiting)

    @contextmanager
    def watch(self, row_id: UUID) -> Iterator[Watch]:
        """News told from now on are not missed: watch first, then look at the row, then wait."""
        event = asyncio.Event()
        self._waiting.setdefault(row_id, set()).add(event)
        try:
            yield Watch(event)
        finally:
            self._waiting[row_id].discard(event)
            if not self._waiting[row_id]:
                del self._waiting[row_id]

    def tell(self, row_id: UUID) -> None:
        for event in self._waiting.get(row_id, ()):
            event.set()


class Watch:
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def news(self, seconds: float) -> None:
        """Return when there are news, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()
