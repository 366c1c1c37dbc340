"""Standard output and error of an algorithm and of all that it starts: one file in memory, in write order.

The host reads from it what one call printed. The guardian copies all of it to the replica's log and gives
the memory back as it goes, by punching holes, so that offsets stay true while both sides work.
"""

from __future__ import annotations

import contextlib
import os

from .linux import punch_hole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_BYTES = 1024 * 1024
"""Of one call's output, in its answer: the first and the last half of it."""
_MOST_HELD = 16 * 1024 * 1024
_MARGIN = 1024 * 1024
_RECLAIM_FROM = 256 * 1024
_RESTART_FROM = 64 * 1024 * 1024
_RESTART_HELD = 512 * 1024 * 1024
_LOG_BYTES = 4 * 1024 * 1024
_LOG_PIECE = 1024 * 1024


def open_output() -> int:
    """A new file in memory that every writer appends to."""
    import fcntl  # noqa: PLC0415 - used once

    descriptor = os.memfd_create("output")
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def size_of(descriptor: int) -> int:
    return os.fstat(descriptor).st_size


def read_range(descriptor: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = os.pread(descriptor, min(end - start, _LOG_PIECE), start)
        if not piece:
            break
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def read_call(descriptor: int, start: int, end: int, most: int = KEPT_BYTES) -> str:
    """What was printed from `start` to `end`, shortened in the middle to `most` bytes."""
    if end < start:  # begun anew meanwhile
        start = 0
    cut = end - start - most
    if cut <= 0:
        return read_range(descriptor, start, end).decode("utf-8", "replace")
    half = most // 2
    head = read_range(descriptor, start, start + half).decode("utf-8", "replace")
    tail = read_range(descriptor, end - half, end).decode("utf-8", "replace")
    return f"{head}\n... {cut} bytes of output cut here ...\n{tail}"


def _open_log(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


class OutputLog:
    """The guardian's side: keeps the log file and the memory small. The log is PATH, the older half of it
    PATH.1. PATH.start has the inode of the latter, and how many bytes were logged up to its end."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._source = descriptor
        self._path = path
        self._log = _open_log(path)
        self._before = 0
        self._logged = 0
        self._reclaimed = 0

    def collect(self, holds: Sequence[int]) -> bool:
        """Log what is new and free what nobody will read: that is all before the lowest of `holds`, and the
        middle of what lies behind it if that grows too large. True if more than a little was printed.

        Begins the file anew now and then, long before a limit on the size of files could be met. A call
        whose output is held loses the earlier part of it then, and is told."""
        size = size_of(self._source)
        if size < self._logged:
            self._logged = self._reclaimed = 0
        fresh = size - self._logged
        if fresh:
            self._append(self._logged, size)
            self._logged = size
        hold = min(holds, default=size)
        if hold > size:  # the file was begun anew meanwhile
            hold = 0
        self._reclaim(hold)
        if size - hold > _MOST_HELD:
            with contextlib.suppress(OSError):
                punch_hole(self._source, hold + _MARGIN, size - hold - 2 * _MARGIN)
        if size > (_RESTART_HELD if holds else _RESTART_FROM):
            os.ftruncate(self._source, 0)
            self._logged = self._reclaimed = 0
            if holds:
                os.write(self._source, b"... earlier output cut here ...\n")
        return fresh > _RECLAIM_FROM

    def note(self, text: str) -> None:
        """A line of the runner's own."""
        self._write(f"[runner] {text}\n".encode())

    def close(self) -> None:
        os.close(self._log)

    def _reclaim(self, until: int) -> None:
        if until - self._reclaimed >= _RECLAIM_FROM:
            with contextlib.suppress(OSError):
                punch_hole(self._source, self._reclaimed, until - self._reclaimed)
            self._reclaimed = until

    def _append(self, start: int, end: int) -> None:
        if end - start <= 2 * _LOG_PIECE:
            self._write(read_range(self._source, start, end))
            return
        self._write(read_range(self._source, start, start + _LOG_PIECE))
        self.note(f"{end - start - 2 * _LOG_PIECE} bytes of output cut here")
        self._write(read_range(self._source, end - _LOG_PIECE, end))

    def _write(self, data: bytes) -> None:
        """A full disk costs log lines, never calls."""
        with contextlib.suppress(OSError):
            os.write(self._log, data)
            found = os.fstat(self._log)
            if found.st_size > _LOG_BYTES // 2:
                self._before += found.st_size
                with open(self._path + ".start", "w", encoding="ascii") as start:
                    start.write(f"{found.st_ino} {self._before}")
                os.replace(self._path, self._path + ".1")
                full, self._log = self._log, _open_log(self._path)
                os.close(full)
