"""The folder of one replica: what the worker lays out for it, and what it leaves.

handle.json   the worker's note (see handles.py)
spec.json     the runner's specification, readable by the replica's user
preparation   output of the programs that made its environment
process.json, out   of a sandbox of processes: its launcher, and what that and the runner's own faults printed
tmp/          the replica's /tmp
d/            of the replica's user: s (socket for calls), e (for those of other hosts, where it has no network),
              c (control), state, log
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from services.worker import replica_log
from services.worker.files import Untrusted, read_untrusted, remove, tail
from services.worker.launcher.request import PREFIX
from services.worker.replica_log import Kept
from services.worker.steps import give, own_folder

_MAX_STATE_BYTES = 64 * 1024
OUT_BYTES = 1 << 20
"""Of what its first process printed."""
_WORDS_BYTES = 1500


class ReplicaFolder:
    """Paths and files. Everything below `own` may have been changed by the replica."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / "d"
        self.tmp = path / "tmp"
        self.socket = self.own / "s"
        self.entrance = self.own / "e"
        self.control = self.own / "c"
        self.state = self.own / "state"
        self.log = self.own / "log"
        self.spec = path / "spec.json"
        self.preparation = path / "preparation"

    @classmethod
    def create(cls, parent: Path, uid: int | None) -> ReplicaFolder:
        """A new folder with a short name."""
        while True:
            path = parent / uuid4().hex[:8]
            try:
                path.mkdir(mode=0o711)
                break
            except FileExistsError:
                continue
        own_folder(path / "d", uid)
        own_folder(path / "tmp", uid)
        return cls(path)

    def write_spec(self, members: Mapping[str, Any], uid: int | None) -> None:
        descriptor = os.open(self.spec, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(members, file)
        give(self.spec, uid)

    def failure(self, out: bytes) -> str | None:
        """Why the runner says that the replica failed, if it does.

        Args:
            out: what the replica's first process printed, here and below.
        """
        try:
            members = json.loads(read_untrusted(self.state, _MAX_STATE_BYTES))
        except (Untrusted, ValueError):
            return _launcher_failure(out)
        reason = members.get("reason") if isinstance(members, dict) and members.get("state") == "failed" else None
        return reason[:_WORDS_BYTES] if isinstance(reason, str) else None

    def said(self, out: bytes) -> str:
        """The end of what the replica printed, for people."""
        text = tail(self.log, _WORDS_BYTES) or out[-_WORDS_BYTES:]
        return text.decode(errors="replace").strip()

    def collected_log(self, out: bytes) -> Kept:
        return replica_log.collect(self.preparation, self.log, out)

    def archive(self, logs: Path, replica_id: UUID, out: bytes) -> None:
        """Keep the log of a replica that ended, and remove the folder."""
        try:
            replica_log.archive(logs, replica_id, self.collected_log(out))
        finally:
            remove(self.path)


def _launcher_failure(out: bytes) -> str | None:
    lines = out[-_WORDS_BYTES:].decode(errors="replace").splitlines()
    own = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    return own[-1] if own else None
