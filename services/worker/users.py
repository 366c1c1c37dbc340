"""User ids for sandboxes: one for each replica, one for each owner whose builds run here.

Only a worker that runs as root has them to give; for any other all answers are None.
"""

from __future__ import annotations

import os
from pathlib import Path

from services.worker.files import write_private

OWNERS_FROM = 10_000
COUNT = 20_000
_NOTE = ".uid"


class NoUserLeft(RuntimeError):
    """All ids of the range are in use."""


class Users:
    """Hands out ids from `first` on: the first for trying things, then replicas, then owners."""

    def __init__(self, first: int, *, own_users: bool) -> None:
        self._first = first
        self._own_users = own_users
        self._taken: set[int] = set()
        self._next = first + 1

    def take(self) -> int | None:
        """An id for one replica, until it is given back. Raises NoUserLeft.

        Ids go round, so that what a replica left outside of its folders meets no other one soon.
        """
        if not self._own_users:
            return None
        for _ in range(OWNERS_FROM - 1):
            uid, self._next = self._next, self._next + 1
            if self._next == self._first + OWNERS_FROM:
                self._next = self._first + 1
            if uid not in self._taken:
                self._taken.add(uid)
                return uid
        raise NoUserLeft("no user id is left for another replica")

    def keep(self, uid: int | None) -> None:
        """A replica that was found again has it."""
        if uid is not None:
            self._taken.add(uid)

    def give_back(self, uid: int | None) -> None:
        if uid is not None:
            self._taken.discard(uid)

    def own(self, folder: Path) -> int | None:
        """The id of the owner whose folder this is, which is made if it is not there. Ids are noted beside the
        folders and never given to another owner, whose files they may have."""
        if not self._own_users:
            folder.mkdir(exist_ok=True, mode=0o700)
            return None
        note = folder.with_name(folder.name + _NOTE)
        if note.exists():
            uid = int(note.read_text())
        else:
            taken = {int(other.read_text()) for other in folder.parent.glob(f"*{_NOTE}")}
            uid = max((self._first + OWNERS_FROM - 1, *taken)) + 1
            if uid >= self._first + COUNT:
                raise NoUserLeft("no user id is left for another owner's builds")
            write_private(note, str(uid))
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            os.chown(folder, uid, uid)
        return uid
