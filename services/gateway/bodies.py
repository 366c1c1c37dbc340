"""Bodies of requests that the application answers, as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from services.gateway.answers import RequestTimeout

STALL_SECONDS = 60.0


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The request's body, unbuffered. Raises ClientDisconnect, or RequestTimeout when nothing comes for long."""
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise RequestTimeout(f"nothing of the body arrived for {STALL_SECONDS:g} seconds") from None
        if chunk is None:
            return
        if chunk:
            yield chunk
