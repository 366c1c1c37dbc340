"""The worker's part of the disk.

worker_id, lock    who this worker is; held while one runs
run/ID             one replica: handle, specification, sockets, log, its /tmp (short names: socket paths are limited)
work/              programs that build or install, while they run
trees/ environments/  made once from sources and locks
packages/OWNER     the package cache of one owner's builds
logs/              of replicas that ended
mounts/            always empty: where each sandbox puts its own root together
runner-DIGEST/     the runner, as copied for sandboxes
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from services.worker.files import remove, write_private

_RUNNER = Path(__file__).parent / "runner"
_PASSABLE = 0o711
"""Users of sandboxes may pass to what is theirs, and list nothing."""
DOOR = "door"
"""The folder in `run` that holds the way to the gateways (see door.py)."""
_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (unix(7))."""
_SOCKET_NAME = 24
"""Room for a replica's folder and the name of the socket in it."""


class AlreadyRunning(RuntimeError):
    """Another worker uses the same data folder."""


class Folders:
    """Makes the folders; every path is absolute and free of symbolic links."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=_PASSABLE)
        self.root = data_dir.resolve()
        if os.geteuid() == 0:
            self.root.chmod(_PASSABLE)
        self._make("feeds", 0o700)
        self.trees = self.root / "trees"
        self.environments = self.root / "environments"
        self.packages = self._make("packages")
        self.work = self._make("work")
        self.logs = self._make("logs", 0o700)
        self.mounts = self._make("mounts")
        self.run = self._make("run") if self._is_short(self.root / "run") else _short_run_folder(self.root)

    def worker_id(self) -> str:
        """A UUID that stays the same as long as the folder does."""
        file = self.root / "worker_id"
        try:
            return str(UUID(file.read_text().strip()))
        except (OSError, ValueError):
            worker_id = str(uuid4())
            write_private(file, worker_id + "\n")
            return worker_id

    def mark(self) -> str:
        """Begins the name of every sandbox of this worker."""
        return self.worker_id()[:8]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, and remove what work an earlier one left half done.

        Raises AlreadyRunning when another process holds it.
        """
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning(
                    f"another worker runs in {self.root}; stop it, or give this one its own CONSTELLATION_DATA_DIR"
                ) from error
            for left in self.work.iterdir():
                remove(left)
            try:
                yield
            finally:
                self._leave_run()

    def copy_runner(self) -> Path:
        """The runner, where sandboxes may read it: replicas keep the one that they were started with."""
        digest = hashlib.sha256()
        sources = sorted(file for file in _RUNNER.iterdir() if file.suffix in (".py", ".js"))
        for file in sources:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        target = self.root / f"runner-{digest.hexdigest()[:12]}"
        if not target.is_dir():
            temporary = Path(tempfile.mkdtemp(prefix=".runner-", dir=self.root))
            for file in sources:
                shutil.copyfile(file, temporary / file.name)
                (temporary / file.name).chmod(0o444)
            temporary.chmod(0o755)
            temporary.rename(target)
        return target

    def discard_made(self) -> None:
        """Remove all that was made here to be run, for who cannot tell whether it still is what was made."""
        for path in (self.trees, self.environments, *self.root.glob("runner-*"), *self.root.glob(".runner-*")):
            remove(path)

    def _leave_run(self) -> None:
        """A run folder outside of the data folder goes when nothing runs in it."""
        if not self.run.is_relative_to(self.root):
            with contextlib.suppress(OSError):
                (self.run / DOOR).rmdir()
                self.run.rmdir()

    def _make(self, name: str, mode: int = _PASSABLE) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True, mode=mode)
        return path

    @staticmethod
    def _is_short(run: Path) -> bool:
        return len(os.fsencode(run)) + _SOCKET_NAME <= _LONGEST_SOCKET


def _short_run_folder(root: Path) -> Path:
    """A folder in /tmp that belongs to this data folder and this user alone."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    path = Path(tempfile.gettempdir(), f"constellation-{os.getuid()}-{name}")
    path.mkdir(exist_ok=True, mode=0o711)
    found = path.lstat()
    if found.st_uid != os.getuid() or not path.is_dir() or path.is_symlink() or found.st_mode & 0o022:
        raise PermissionError(
            f"{path} belongs to somebody else; remove it, or choose a shorter CONSTELLATION_DATA_DIR"
        )
    return path
