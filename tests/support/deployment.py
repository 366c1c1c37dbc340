"""The whole platform as users start it: real processes of the `constellation` command, ended by pid.

`Up` runs `constellation up`; `Separate` runs the five services as processes of their own on a real broker and an
external PostgreSQL. Both keep their log in the data directory, where a failed test finds it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import free_ports

START_SECONDS = 180.0
STOP_SECONDS = 120.0
COMMAND = Path(sys.executable).with_name("constellation")
SERVICES = ("fakts", "registry", "deployer", "worker", "gateway")


class Deployment:
    """Processes of one platform, by name."""

    def __init__(self, data_dir: Path, host: str = "127.0.0.1") -> None:
        self.data_dir = data_dir
        self.host = host
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = free_ports(1)[0]
        self.url = f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start what does not run, and wait until the platform answers calls."""
        raise NotImplementedError

    @property
    def admin(self) -> dict[str, str]:
        """What `admin.json` holds."""
        document: dict[str, str] = json.loads(self.admin_file.read_text())
        return document

    @property
    def admin_file(self) -> Path:
        return self.data_dir / "admin.json"

    @property
    def replica_processes(self) -> list[int]:
        """Pids of this platform's guardians and hosts: processes whose command line names its data directory."""
        mark = str(self.data_dir)
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if mark in line and "postgres" not in line:
                    found.append(int(entry.name))
        return found

    def spawn(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        log = (self.data_dir / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [str(COMMAND), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        log.close()

    def wait_ready(self) -> None:
        """Until the gateway says that it is ready and the credentials are written."""
        self.wait_until(lambda: self.admin_file.exists() and _answers(f"{self.url}/readyz"), "answer")

    def wait_until(self, level: Any, what: str, seconds: float = START_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not level():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended with {process.returncode}: {self.log_tail(name)}")
            if time.monotonic() > end:
                tails = "\n".join(f"--- {name}\n{self.log_tail(name)}" for name in self.processes)
                raise AssertionError(f"the platform did not {what} within {seconds:.0f} s\n{tails}")
            time.sleep(0.05)

    def listed(self, what: str) -> list[dict[str, Any]]:
        """An administrator's list, such as `workers`. Waits until the platform can tell, as after a restart."""
        headers = {"authorization": f"Simple {self.admin['admin_api_key']}"}
        url = f"{self.url}/admin/v1/{what}"
        answers: list[httpx.Response] = []

        def told() -> bool:
            answers.append(httpx.get(url, params={"limit": 500}, headers=headers, timeout=60.0))
            return answers[-1].status_code == 200

        self.wait_until(told, f"list {what}")
        items: list[dict[str, Any]] = answers[-1].json()["items"]
        return items

    def log_tail(self, name: str, size: int = 3000) -> str:
        return (self.data_dir / f"{name}.log").read_text(errors="replace")[-size:]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal and wait for the process to end."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise AssertionError(f"{name} did not stop on {number.name}: {self.log_tail(name)}") from None

    def stop(self) -> None:
        """Stop everything in the reverse order, gently."""
        for name in reversed(list(self.processes)):
            self.signal(name, signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9` of every process of the platform, but for the database server."""
        for name in list(self.processes):
            self.signal(name, signal.SIGKILL)


class Up(Deployment):
    """`constellation up`."""

    name = "up"

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        super().__init__(data_dir)
        self._arguments = arguments
        self._environment = environment

    def start(self) -> None:
        if "up" not in self.processes:
            where = ["--data-dir", str(self.data_dir), "--port", str(self.port)]
            self.spawn("up", ["up", *where, *self._arguments], self._environment)
        self.wait_ready()


class Separate(Deployment):
    """Five processes, each given one Fakts URL and one token; Fakts knows the database and the broker."""

    name = "separate"

    def __init__(self, data_dir: Path, *, database_url: str, bus_url: str, host: str = "127.0.0.1") -> None:
        super().__init__(data_dir, host)
        ports = free_ports(len(SERVICES) - 1)
        self.ports = dict(zip(SERVICES, [*ports, self.port], strict=True))
        self.fakts_url = f"http://{host}:{self.ports['fakts']}"
        self.join_token = "join-" + data_dir.name.ljust(20, "x")
        self._fakts_only = {
            "CONSTELLATION_DATABASE_URL": database_url,
            "CONSTELLATION_BUS_URL": bus_url,
            "CONSTELLATION_BLOB_URL": f"file://{data_dir}/blobs",
            "CONSTELLATION_PUBLIC_URL": self.url,
            "CONSTELLATION_ADMIN_FILE": str(self.admin_file),
        }

    def start(self) -> None:
        for name in SERVICES:
            self.start_service(name)
        self.wait_ready()
        self.wait_until(lambda: self.listed("workers"), "list its worker")

    def start_service(self, name: str, *, instance: str | None = None, **extra: str) -> None:
        """Start one service, under another name when it is a further instance."""
        called = instance or name
        if called in self.processes:
            return
        port = self.ports[name] if instance is None else free_ports(1)[0]
        environment = {
            "CONSTELLATION_FAKTS_URL": self.fakts_url,
            "CONSTELLATION_JOIN_TOKEN": self.join_token,
            "CONSTELLATION_HOST": self.host,
            "CONSTELLATION_PORT": str(port),
            "CONSTELLATION_DATA_DIR": str(self.data_dir / called),
            **(self._fakts_only if name == "fakts" else {}),
            **extra,
        }
        self.spawn(called, ["serve", name], environment)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10.0).status_code == 200
    except httpx.HTTPError:
        return False
