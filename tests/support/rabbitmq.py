"""A private RabbitMQ node on loopback ports, with its data in a directory of its own.

Needs the package `rabbitmq-server` (3.10 or newer) and runs as whoever runs the tests. The node has its own name,
cookie, ports and name server (epmd), so that it neither sees nor disturbs another node on the machine. Every wait
has a deadline. All functions block: call them through `asyncio.to_thread` where an event loop runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_ports

START_SECONDS = 180.0
STOP_SECONDS = 90.0

_SCRIPTS = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/opt/rabbitmq/sbin/rabbitmq-server"))
_NAME_SERVERS = ("/usr/lib/erlang/erts-*/bin/epmd", "/usr/local/lib/erlang/erts-*/bin/epmd")


class RabbitMQ:
    """One node. `start` after `stop` or `kill` finds the same data, on the same port."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        self._directory = directory
        self._host = host
        self._name = f"constellation-{secrets.token_hex(4)}@localhost"
        self._port, self._dist_port, self._epmd_port = free_ports(3)
        self.user = "tester"
        self.password = secrets.token_hex(12)
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        for name in ("home", "data", "log"):
            (directory / name).mkdir(parents=True)
        cookie = directory / "home" / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (directory / "enabled_plugins").write_text("[].")
        (directory / "env.conf").write_text("")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.private = {host}:{self._port}\n"
            f"default_user = {self.user}\n"
            f"default_pass = {self.password}\n"
            "disk_free_limit.absolute = 1MB\n"
        )

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
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return self.url_at(self._port)

    def url_at(self, port: int) -> str:
        """The node's URL when it is reached through another port, such as that of a proxy."""
        return f"amqp://{self.user}:{self.password}@{self._host}:{port}/"

    @property
    def running(self) -> bool:
        return self._node is not None and self._node.poll() is None

    def start(self) -> None:
        """Start the node and wait until it speaks AMQP. Does nothing when it runs."""
        if self.running:
            return
        if self._epmd is None:
            self._epmd = self._spawn([_name_server(), "-address", "127.0.0.1", "-port", str(self._epmd_port)], "epmd")
        self._node = self._spawn([str(_script())], "node")
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running:
                raise RuntimeError(f"RabbitMQ ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"RabbitMQ did not start in {START_SECONDS:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask the node to shut down in order (SIGTERM), and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """End the node and its name server, and remove the data."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_SECONDS)
            self._epmd = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def queues_saved(self) -> bool:
        """Whether the node has saved its table of quorum queues, which it does within about a second.

        A node that is killed before forgets what is in newer queues (seen with 3.10). The table is a file of Erlang's
        dets, whose header says whether all of it is on disk.
        """
        tables = list((self._directory / "data").glob("*/quorum/*/names.dets"))
        return all(table.read_bytes()[8:12] == b"\0\0\0\1" for table in tables)

    def log_tail(self) -> str:
        """The end of what the node wrote, for the message of a failure."""
        parts = []
        for path in sorted((self._directory / "log").iterdir()):
            with contextlib.suppress(OSError):
                parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}")
        return "\n".join(parts)

    def _end(self, how: signal.Signals) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        node.send_signal(how)
        try:
            node.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait(STOP_SECONDS)

    def _answers(self) -> bool:
        """An AMQP listener answers the protocol header with a method frame (type 1)."""
        try:
            with socket.create_connection((self._host, self._port), timeout=10) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def _spawn(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self._directory / "log" / f"{name}.out").open("ab") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        at = self._directory
        return {
            **kept,
            "HOME": str(at / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(at / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(at / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(at / "data"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_PID_FILE": str(at / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The script then becomes the node instead of its parent, so that our child's pid is the node's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def _script() -> Path:
    """The node's start script itself: Debian's wrapper in the PATH changes the user."""
    for path in _SCRIPTS:
        if path.exists():
            return path
    raise FileNotFoundError("RabbitMQ is not installed: install the package rabbitmq-server")


def _name_server() -> str:
    found = shutil.which("epmd")
    for pattern in _NAME_SERVERS:
        found = found or next((str(path) for path in Path("/").glob(pattern.lstrip("/"))), None)
    if found is None:
        raise FileNotFoundError("epmd is not installed: it comes with Erlang, which rabbitmq-server needs")
    return found
