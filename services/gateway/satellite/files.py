"""Files that are read again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from libs.common import logs

log = logs.get(__name__)

Mark = tuple[int, int, int]


class FileRefused(ValueError):
    """A file cannot be read, or not used; the message names it and says why."""


class WatchedFile:
    """Args:
    take: is given what the file holds; raises ValueError for what cannot be used, and then nothing has changed.
    """

    def __init__(self, path: Path, take: Callable[[bytes], object]) -> None:
        self.path = path
        self._take = take
        self._mark: Mark | None = None
        self.refused: str | None = None
        """Why the newest content is not the one that counts."""

    def load(self) -> None:
        """Raises FileRefused."""
        try:
            self._mark, content = self._read()
            self._take(content)
        except OSError as error:
            raise FileRefused(f"{self.path} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise FileRefused(f"{self.path} cannot be used: {error}") from None

    async def look(self) -> None:
        """Take what the file holds if that is new. What cannot be used is told in the log; what was before stays."""
        try:
            if await asyncio.to_thread(self._mark_now) == self._mark:
                return
            self._mark, content = await asyncio.to_thread(self._read)
            self._take(content)
        except OSError as error:
            self._refuse(f"it cannot be read: {error.strerror or error}")
        except ValueError as error:
            self._refuse(str(error))
        else:
            self.refused = None
            log.info("file_taken", file=str(self.path))

    def _refuse(self, reason: str) -> None:
        if reason != self.refused:
            log.error("file_refused", file=str(self.path), reason=reason, consequence="what it held before goes on")
        self.refused = reason

    def _mark_now(self) -> Mark:
        """Changes when the file is written or replaced, as mounted ones are by a link to another folder."""
        found = self.path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[Mark, bytes]:
        mark = self._mark_now()  # before reading: what is written meanwhile is read the next time
        return mark, self.path.read_bytes()
