"""Background loops: level-triggered, one run at a time, woken by a timer or by `wake()`.

`once` takes no input and reads what is to be done from rows, so that a lost wake-up costs latency and a
repeated one nothing. A failed run is logged, counted and tried again after a growing pause; it never ends the
loop. Use `supervise` for a task that must not end: its end is a fault of the process.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from libs.common import logs, telemetry

log = logs.get(__name__)


class Loop:
    """Runs `once` every `every` seconds (jittered by a tenth), and soon after each `wake()`.

    Attributes:
        last_success: monotonic time of the last run that did not fail, or None.
        failures: runs that failed since the last success.
    """

    def __init__(
        self,
        name: str,
        once: Callable[[], Awaitable[object]],
        *,
        every: float,
        backoff_limit: float = 30.0,
    ) -> None:
        self.name = name
        self._once = once
        self._every = every
        self._backoff_limit = backoff_limit
        self._woken = asyncio.Event()
        self.last_success: float | None = None
        self.failures = 0

    def wake(self) -> None:
        """Run again soon. During a run: once more after it."""
        self._woken.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._woken.clear()
            await self._attempt()
            pause = self._pause()
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue
            if self.failures:
                await asyncio.sleep(min(pause, 0.5))

    async def _attempt(self) -> None:
        try:
            await self._once()
        except Exception:
            self.failures += 1
            telemetry.LOOP_FAILURES.labels(self.name).inc()
            log.warning("loop_failed", loop=self.name, failures=self.failures, exc_info=True)
        else:
            self.failures = 0
            self.last_success = time.monotonic()
            telemetry.LOOP_SUCCESS.labels(self.name).set_to_current_time()

    def _pause(self) -> float:
        pause = self._every * random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not a secret
        if self.failures:
            pause = min(pause, self._backoff_limit, 0.2 * 2 ** min(self.failures, 16))
        return pause


@asynccontextmanager
async def running(*loops: Loop) -> AsyncIterator[None]:
    """The loops run while the context is open; leaving it cancels them and waits for their end."""
    async with tasks(*(loop.run() for loop in loops)):
        yield


@asynccontextmanager
async def tasks(*coroutines: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Background tasks that live as long as the context. One that fails is logged as a fault."""
    started = [asyncio.create_task(_guarded(coroutine)) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
        for coroutine in coroutines:
            coroutine.close()  # one whose task was cancelled before its first step never began


async def _guarded(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        await coroutine
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("background_task_died", task=getattr(coroutine, "__qualname__", str(coroutine)))
