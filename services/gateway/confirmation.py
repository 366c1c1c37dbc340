"""Making sure that a miss is one: catching up with a feed before "there is no such thing" is an answer."""

from __future__ import annotations

import asyncio
import time

from libs.common.feed import FeedFollower

PAUSE_SECONDS = 0.05


class Confirmation:
    """Asks a feed's publisher for news, once for all that wait, and at most twenty times a second.

    Each caller waits for a question that was asked after it came, so that it sees all that was published before.
    """

    def __init__(self, follower: FeedFollower, *, timeout: float = 2.0) -> None:
        self._follower = follower
        self._timeout = timeout
        self._next: asyncio.Task[bool] | None = None
        """The question that has not been asked yet."""
        self._turn = asyncio.Lock()
        self._asked = float("-inf")

    async def __call__(self) -> bool:
        """True when this process knows all that was published before the call; False when nobody answers in time."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
        return await asyncio.shield(self._next)

    async def _ask(self) -> bool:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._asked + PAUSE_SECONDS - time.monotonic()))
            self._next = None
            self._asked = time.monotonic()
            return await self._follower.refresh(timeout=self._timeout)
