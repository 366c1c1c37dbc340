"""What a program prints, read from a pipe by the event loop.

uvloop's own pipe transport closes the descriptor and then closes the file object on it once more. A file that
another thread opened in between gets the same number, and is closed under that thread's hands. Here the descriptor
has one owner.
"""

from __future__ import annotations

import asyncio
import os

_CHUNK = 1 << 16
_LIMIT = 1 << 20


class OutputPipe(asyncio.Transport):
    """Feeds `output` until the program's side is closed; reads no further while nobody takes what there is."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over. Needs a running event loop."""
        super().__init__()
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.output = asyncio.StreamReader(limit=_LIMIT)
        self.output.set_transport(self)
        os.set_blocking(descriptor, False)
        self.resume_reading()

    def pause_reading(self) -> None:
        self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        if self._open:
            self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Stop reading. Whoever waits for output gets the end of it."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.output.feed_eof()

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            self.output.feed_data(chunk)
        else:
            self.close()
