"""A real replica for tests: guardian and host processes around an algorithm that the test writes."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.eventually import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "services" / "worker" / "runner"
START_S = 120.0

T = TypeVar("T")


def until(check: Callable[[], T], timeout: float = PATIENCE) -> T:
    """What `check` gives once it is true."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: the check gives {value!r}")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def open_files(pid: int) -> dict[Path, str]:
    """What a process has open just now: the links in /proc/PID/fd, and where each leads."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[entry] = str(entry.readlink())
    return found


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float = 120.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.body)
        return members

    @property
    def result(self) -> Any:
        assert "result" in self.json, self.body[:2000]
        return self.json["result"]

    @property
    def error(self) -> dict[str, Any]:
        assert "error" in self.json, self.body[:2000]
        error: dict[str, Any] = self.json["error"]
        return error


class Caller:
    """One connection of a gateway."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def send(
        self,
        value: Any,
        *,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> None:
        if content_type is None:
            if isinstance(value, bytes):
                content_type = "application/octet-stream"
            elif isinstance(value, str):
                content_type, value = "text/plain", value.encode()
            else:
                content_type, value = "application/json", json.dumps(value).encode()
        fields = {"content-type": content_type, "x-request-id": "req-1", "x-timeout": str(timeout), **(headers or {})}
        self._connection.request("POST", "/call", value, fields)

    def receive(self) -> Answer:
        return Answer(self._connection.getresponse())

    def call(self, value: Any, **options: Any) -> Answer:
        self.send(value, **options)
        return self.receive()

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        self._connection.request(method, path, headers=dict(headers or {}))
        return self.receive()

    def receive_raw(self) -> bytes:
        """All that comes until the connection ends."""
        pieces = iter(lambda: self.socket.recv(65536), b"")
        return b"".join(pieces)

    @property
    def socket(self) -> socket.socket:
        if self._connection.sock is None:
            self._connection.connect()
        return self._connection.sock

    def close(self) -> None:
        self._connection.close()


class Replica:
    """`code` becomes `src/NAME.py`; `files` are further files of the repository; `prefix` is put before the
    guardian's command. Ends with the `with` block."""

    def __init__(
        self,
        folder: Path,
        code: str | None = None,
        *,
        name: str = "sample",
        python: str | Path = sys.executable,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **spec: Any,
    ) -> None:
        self.root = folder / "algorithm"
        self.place = folder / "replica"
        self.place.mkdir(parents=True)
        written = dict(files or {})
        if code is not None:
            written |= {"src/__init__.py": "", f"src/{name}.py": textwrap.dedent(code)}
        for path, text in written.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
            if text.startswith("#!"):
                (self.root / path).chmod(0o755)
        self.spec = {
            "name": name,
            "kind": "python",
            "root": str(self.root),
            "socket": str(self.place / "call.sock"),
            "control": str(self.place / "control.sock"),
            "log": str(self.place / "log"),
            "state": str(self.place / "state"),
            "gateways": [],
            "load_timeout": 120,
            **spec,
        }
        self.spec_path = self.place / "spec.json"
        self.spec_path.write_text(json.dumps(self.spec))
        self.python = str(python)
        self._environment = {**os.environ, **(environment or {})}
        self._prefix = prefix
        self._callers: list[Caller] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Without waiting until it is ready."""
        command = [*self._prefix, self.python, "-I", str(RUNNER / "main.py"), str(self.spec_path)]
        with (self.place / "guardian.out").open("wb") as out:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        if self._process is None:
            self.start()
            until(lambda: self.state["state"] != "starting" or self.guardian.poll() is not None, START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for caller in self._callers:
            caller.close()
        if self.guardian.poll() is None:
            self.guardian.terminate()
            try:
                self.guardian.wait(60)
            except subprocess.TimeoutExpired:
                self.guardian.kill()
                self.guardian.wait()
        if error is not None:
            sys.stdout.write(f"guardian: {self.words}\nlog: {self.log}\nstate: {self.state}\n")

    def caller(self, *, tcp: tuple[str, int] | None = None) -> Caller:
        connection = (
            http.client.HTTPConnection(*tcp, timeout=120) if tcp else UnixConnection(self.place / "call.sock")
        )
        caller = Caller(connection)
        self._callers.append(caller)
        return caller

    def call(self, value: Any, **options: Any) -> Answer:
        caller = self.caller()
        try:
            return caller.call(value, **options)
        finally:
            caller.close()

    def control(self, method: str, path: str) -> Answer:
        connection = UnixConnection(self.place / "control.sock")
        connection.request(method, path)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    @property
    def listens(self) -> bool:
        """It takes calls and questions: its control socket is the last that it listens on."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.place / "control.sock")) == 0

    @property
    def guardian(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the replica was not started"
        return self._process

    @property
    def health(self) -> dict[str, Any]:
        return self.control("GET", "/health").json

    @property
    def state(self) -> dict[str, Any]:
        path = self.place / "state"
        members: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"state": "starting"}
        return members

    @property
    def log(self) -> str:
        path = self.place / "log"
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    @property
    def words(self) -> str:
        return (self.place / "guardian.out").read_text(errors="replace")

    @property
    def host(self) -> int:
        pid: int = self.health["host_pid"]
        return pid


def installed_python(version: str) -> Path | None:
    """An interpreter of this version, if the machine has one that runs."""
    found = list(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    if on_path := shutil.which(f"python{version}"):
        found.append(Path(on_path))
    for candidate in found:
        if subprocess.run([str(candidate), "-V"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def check(replica: Replica) -> subprocess.CompletedProcess[str]:
    """Load the replica's algorithm once, as a build does."""
    command = [replica.python, "-I", str(RUNNER / "main.py"), "--check", str(replica.spec_path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def environment_with(folder: Path, requirements: Iterable[str]) -> Path:
    """The interpreter of a virtual environment that has these packages, made once and kept in `folder`."""
    wanted = "\n".join(requirements)
    name = "-".join(wanted.replace("=", "").split())
    place = folder / name
    uv = Path(sys.executable).parent / "uv"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, place], check=True, timeout=300)
            install = [str(uv), "pip", "install", "-q", "-p", str(place / "bin" / "python"), *wanted.split()]
            subprocess.run(install, check=True, timeout=600)
            (place / "complete").touch()
    return place / "bin" / "python"
