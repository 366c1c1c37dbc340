"""Waiting for a state that something else brings about."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds. Costs nothing where all is well, and a busy machine needs some of it."""
UNASKED = 20.0
"""Seconds. Less than a feed's longest wait: what its follower knows by then it was told, it did not ask again."""


@overload
async def eventually(check: Callable[[], Awaitable[T]], timeout: float = PATIENCE, every: float = 0.02) -> T: ...


@overload
async def eventually(check: Callable[[], T], timeout: float = PATIENCE, every: float = 0.02) -> T: ...


async def eventually(check: Callable[[], Any], timeout: float = PATIENCE, every: float = 0.02) -> Any:
    """What `check` returns, as soon as it is true. A check may be a coroutine function, and may raise.

    Raises:
        AssertionError: it was not true within `timeout` seconds; says what it last returned or raised.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        error: Exception | None = None
        try:
            found = check()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
            last = f"it returned {value!r}"
        except Exception as raised:
            error, last = raised, f"it raised {type(raised).__name__}: {raised}"
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {timeout} s: {last}") from error
        await asyncio.sleep(every)
