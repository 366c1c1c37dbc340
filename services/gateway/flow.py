"""How far ahead of its answers a client's connection is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sized

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Reads nothing while requests wait for their turn, also when the application asks for more of the one whose turn
    it is: that has arrived whole, and what comes next would be kept for those that wait.

    Args:
        waiting: the requests that wait.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting:
            super().resume_reading()
