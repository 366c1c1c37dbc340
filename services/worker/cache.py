"""Folders that are made once under a name and used by many, until the disk is needed for others.

An entry is made in a temporary folder and renamed when it is whole, so there are no half ones. One process owns
a cache (the worker holds a lock on its data folder); within it, whoever wants an entry that is being made waits.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from libs.common import logs
from services.worker import metrics
from services.worker.files import disk_usage, remove

log = logs.get(__name__)

Make = Callable[[Path], Awaitable[object]]
_UNFINISHED = ".new-"
_SIZE = ".size"


@dataclass(frozen=True)
class Entry:
    path: Path
    bytes: int
    used: float
    """Unix time of its last use."""


class Cache:
    """One folder of entries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        for left in folder.glob(f"{_UNFINISHED}*"):
            remove(left)
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._users: defaultdict[str, set[str]] = defaultdict(set)

    async def take(self, name: str, user: str, make: Make) -> Path:
        """The entry, made with `make` (which fills the folder it is given) if it is not there.

        It stays until `user` gives it back. Raises what `make` raises; the next one who wants it tries again.
        """
        self.keep(name, user)
        path = self.folder / name
        try:
            async with self._making[name]:
                if not path.is_dir():
                    await self._make(path, make)
                os.utime(_size_file(path))
        except BaseException:
            self.give_back(name, user)
            raise
        return path

    def has(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def keep(self, name: str, user: str) -> None:
        """`user` uses an entry that is there, or that it makes itself."""
        self._users[name].add(user)

    def give_back(self, name: str, user: str) -> None:
        self._users[name].discard(user)
        if not self._users[name]:
            del self._users[name]

    def entries(self) -> list[Entry]:
        return [_describe(path) for path in self.folder.iterdir() if path.is_dir() and path.name[0] != "."]

    def in_use(self, entry: Entry) -> bool:
        return entry.path.name in self._users

    async def measure(self, name: str) -> None:
        """Note how large an entry is that changes while it is used, and that it was used now."""
        path = self.folder / name
        _size_file(path).write_text(str(await asyncio.to_thread(disk_usage, path)))

    def withdraw(self, entry: Entry) -> Path:
        """Take an entry out of the cache; returns where it lies now, to be removed."""
        target = self.folder / f"{_UNFINISHED}{uuid4().hex[:12]}"
        entry.path.rename(target)
        _size_file(entry.path).unlink(missing_ok=True)
        return target

    async def _make(self, path: Path, make: Make) -> None:
        temporary = self.folder / f"{_UNFINISHED}{uuid4().hex[:12]}"
        temporary.mkdir(mode=0o755)
        try:
            await make(temporary)
            size = await asyncio.to_thread(disk_usage, temporary)
            _size_file(path).write_text(str(size))
            temporary.rename(path)
        finally:
            await asyncio.to_thread(remove, temporary)


def _size_file(path: Path) -> Path:
    return path.with_name(path.name + _SIZE)


def _describe(path: Path) -> Entry:
    file = _size_file(path)
    try:
        return Entry(path, int(file.read_text()), file.stat().st_mtime)
    except (OSError, ValueError):  # from a run that ended while it was noted
        return Entry(path, disk_usage(path), 0.0)


async def evict(caches: Sequence[Cache], budget: int) -> list[Path]:
    """Remove the entries that were used longest ago until all caches together take at most `budget` bytes.

    Entries in use stay, so it may not be reached. Returns what was removed.
    """
    found = [(entry, cache) for cache in caches for entry in cache.entries()]
    total = sum(entry.bytes for entry, _ in found)
    gone = []
    for entry, cache in sorted(found, key=lambda pair: pair[0].used):
        if total <= budget:
            break
        if not cache.has(entry.path.name):  # another round, which goes on at the same time, removes it
            total -= entry.bytes
        elif not cache.in_use(entry):
            withdrawn = cache.withdraw(entry)
            total -= entry.bytes
            gone.append(entry.path)
            await asyncio.to_thread(remove, withdrawn)
    if gone:
        log.info("disk_cache_evicted", entries=len(gone), left_mib=total >> 20)
    metrics.CACHE_BYTES.set(total)
    return gone
