"""Reports on disk, from the moment they are written until the platform has taken them.

A file each, for its owner alone; written whole or not at all, and removed when taken. A process that is killed loses
at most what it counted since its last second: the open report is kept as well, and the next run finds it. Past the
limit the oldest reports give up their records, which is counted in them, and only when none has any left, the oldest
itself. What was called is known for longer than by whom: a report that is refused gives up its records, too.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from libs.common import logs
from services.gateway.satellite import reports

log = logs.get(__name__)

MOST_REPORTS = 10_000
"""That wait. Past it an open report is not sealed before its hour is over."""
_SEALED = re.compile(r"(?P<run>[0-9a-z-]{1,64})\.(?P<sequence>\d{9})(?P<thin>\.thin)?")
_OPEN = ".open"
_PART = ".part"


class SpoolTaken(Exception):
    """Another process keeps its reports in the same folder."""


@dataclass(frozen=True)
class Kept:
    """One sealed report."""

    name: str
    run: str
    sequence: int
    size: int
    thin: bool
    """It has given up its records."""

    @property
    def place(self) -> tuple[str, int]:
        """Runs sort by their beginning."""
        return self.run, self.sequence


class Spool:
    """Args:
    limit: bytes of all sealed reports.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._sealed: list[Kept] = []
        self._size = 0
        self._guard = threading.Lock()
        """Reports are written and sent in different threads."""
        self._lock: int | None = None

    def open(self) -> None:
        """Find what earlier runs left. Raises SpoolTaken, OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise SpoolTaken(
                f"another gateway keeps its reports in {self._folder}; give each its own folder"
            ) from None
        self._lock = lock
        for path in self._folder.iterdir():
            if path.suffix == _PART:
                path.unlink()
            elif path.suffix == _OPEN:
                self._close_left(path)
        found = ((path, _SEALED.fullmatch(path.name)) for path in self._folder.iterdir())
        for path, match in found:
            if match is not None:
                self._add(
                    Kept(path.name, match["run"], int(match["sequence"]), path.stat().st_size, bool(match["thin"]))
                )

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def waiting(self) -> int:
        return len(self._sealed)

    @property
    def has_room(self) -> bool:
        return len(self._sealed) < MOST_REPORTS

    def keep_open(self, run: str, sequence: int, document: bytes) -> None:
        """Keep the report that is not sealed yet. Raises OSError."""
        self._write(f"{_name(run, sequence)}{_OPEN}", document)

    def seal(self, run: str, sequence: int, document: bytes) -> None:
        """The report is whole. Raises OSError; then it is not sealed."""
        name = _name(run, sequence)
        with self._guard:
            self._write(name, document, lasting=True)
            self._add(Kept(name, run, sequence, len(document), thin=False))
            (self._folder / f"{name}{_OPEN}").unlink(missing_ok=True)
            while self._size > self._limit and self._sealed:
                self._give_up()

    def oldest(self, most: int, most_bytes: int) -> tuple[list[Kept], list[bytes]]:
        """The oldest sealed reports of one run, with their content: at least one, if there is any."""
        with self._guard:
            self._drop([one for one in self._sealed[:most] if not (self._folder / one.name).exists()])
            chosen: list[Kept] = []
            size = 0
            for one in self._sealed[:most]:
                size += one.size
                if chosen and (one.run != chosen[0].run or size > most_bytes):
                    break
                chosen.append(one)
            return chosen, [(self._folder / one.name).read_bytes() for one in chosen]

    def remove(self, run: str, sequence: int) -> None:
        """The platform has all of a run up to there."""
        with self._guard:
            self._drop([one for one in self._sealed if one.run == run and one.sequence <= sequence])

    def give_up_records(self, one: Kept) -> bool:
        """Take the records out of a report that is not taken with them. False when it has none to give up any more,
        or is no report. Raises OSError."""
        with self._guard:
            if one not in self._sealed:  # made room meanwhile
                return True
            if one.thin:
                return False
            try:
                self._thin(one)
            except ValueError:
                return False
            return True

    def _give_up(self) -> None:
        """Make room: take the records out of the oldest report that has any, or the oldest report away."""
        victim = next((one for one in self._sealed if not one.thin), None)
        if victim is None:
            log.error("report_lost", reason="there is no room for more reports", sequence=self._sealed[0].sequence)
            self._drop(self._sealed[:1])
            return
        try:
            self._thin(victim)
        except (OSError, ValueError):  # one that cannot be read goes as a whole
            self._drop([victim])

    def _thin(self, one: Kept) -> None:
        """Raises OSError, and ValueError for what is no report; then it stays as it is."""
        thin = reports.without_records((self._folder / one.name).read_bytes())
        name = f"{one.name}.thin"
        self._write(name, thin, lasting=True)
        self._add(Kept(name, one.run, one.sequence, len(thin), thin=True))
        self._drop([one])

    def _close_left(self, path: Path) -> None:
        """Seal the open report of a run that was killed. If it was sealed, or taken, already, that one counts."""
        sealed = path.with_suffix("")
        if sealed.exists() or sealed.with_name(f"{sealed.name}.thin").exists() or not _SEALED.fullmatch(sealed.name):
            path.unlink()
        else:
            path.rename(sealed)

    def _add(self, new: Kept) -> None:
        self._sealed.append(new)
        self._sealed.sort(key=lambda one: one.place)
        self._size += new.size

    def _drop(self, gone: Iterable[Kept]) -> None:
        for one in gone:
            (self._folder / one.name).unlink(missing_ok=True)
            self._sealed.remove(one)
            self._size -= one.size

    def _write(self, name: str, document: bytes, *, lasting: bool = False) -> None:
        part = self._folder / f"{name}{_PART}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(document)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        part.replace(self._folder / name)


def _name(run: str, sequence: int) -> str:
    return f"{run}.{sequence:09d}"
