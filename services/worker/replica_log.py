"""One replica's log as one text with positions that stay true: what its preparation printed, what it printed, and at
its end what its first process printed. Of long logs the beginning is gone; the positions of the rest stay.
"""

from __future__ import annotations

import codecs
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from services.worker.files import Untrusted, read_untrusted, tail

_KEPT_BYTES = 2 << 20
"""Of the log of a replica that ended."""
_KEPT_LOGS = 200
_MOST_BYTES = 8 << 20
"""Of one file."""
_LOOKS = 50
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Kept:
    """What is there of a log: bytes from position `start` on."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.content)


@dataclass(frozen=True)
class Part:
    """Text from position `offset` on. Positions are bytes of UTF-8."""

    offset: int
    next_offset: int
    text: str
    whole: bool
    """Nothing of what is there now comes after it."""


def collect(preparation: Path, log: Path, out: bytes) -> Kept:
    """The log in a replica's folder (for `log` see runner/output.py)."""
    before = _read(preparation)
    turned, start = log.with_name(log.name + ".1"), log.with_name(log.name + ".start")
    for _ in range(_LOOKS):  # the runner may be turning it over, and need two steps for it
        inode, dropped = _numbers(start)
        older, newer = _read(turned), _read(log)
        if _numbers(start) == (inode, dropped) and inode == _inode(turned):
            break
        time.sleep(_PAUSE_SECONDS)
    if dropped == len(older):  # nothing is lost in between
        return Kept(0, before + older + newer + out)
    return Kept(len(before) + dropped - len(older), older + newer + out)


def part(kept: Kept, offset: int, limit: int, *, ended: bool) -> Part:
    """At most `limit` bytes from `offset` on, or from where the log begins by now.

    Args:
        ended: no more is coming. Else a character of which only a part is there is left for the next time.
    """
    begin = min(max(offset, kept.start), max(kept.end, offset))
    raw = kept.content[begin - kept.start :][:limit]
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    last = begin + len(raw) >= kept.end
    text = decoder.decode(raw, final=ended and last)
    cut = len(decoder.getstate()[0])
    return Part(begin, begin + len(raw) - cut, text, last and not cut)


def archive(logs: Path, replica_id: UUID, kept: Kept) -> None:
    """Keep the end of a log when its replica has ended. The oldest logs make room."""
    content = kept.content[-_KEPT_BYTES:]
    if content:
        with contextlib.suppress(OSError):  # a full disk costs the log only
            (logs / f"{replica_id}.{kept.end - len(content)}.log").write_bytes(content)
        oldest_first = sorted(logs.glob("*.log"), key=_written)
        for path in oldest_first[:-_KEPT_LOGS]:
            path.unlink(missing_ok=True)


def archived(logs: Path, replica_id: UUID) -> Kept | None:
    """The log of a replica that ended; None when none is kept."""
    for path in logs.glob(f"{replica_id}.*.log"):
        with contextlib.suppress(OSError, ValueError):
            return Kept(int(path.name.split(".")[1]), path.read_bytes())
    return None


def _written(path: Path) -> float:
    """When; zero for a log that another replica's end has just removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> bytes:
    """All of a file that a replica may have written; of one that is too large to be a log, the end."""
    return tail(path, _MOST_BYTES)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def _numbers(path: Path) -> tuple[int, int]:
    """Inode of the older half of the log, and position of its end; zeros for a log that was never turned over."""
    try:
        inode, end = read_untrusted(path, 64).split()
        return int(inode), int(end)
    except (Untrusted, ValueError):
        return 0, 0
