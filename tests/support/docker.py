"""A private Docker engine, and a small base image with this machine's Python.

Needs the package `docker.io` and root. The engine has its own socket, data and state in one directory, no bridge and
no firewall rules, so that it neither sees nor disturbs another engine on the machine: containers use the host's
network. Every wait has a deadline. All functions block: call them through `asyncio.to_thread` where an event loop
runs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 90.0
STOP_SECONDS = 60.0
COMMAND_SECONDS = 180.0

_LEFT_OUT = frozenset(
    {
        *("test", "tests", "__pycache__", "site-packages", "dist-packages", "idlelib", "ensurepip", "lib2to3"),
        *("tkinter", "turtledemo", "pydoc_data"),
    }
)
_BINARY = (find_spec("greenlet._greenlet"), find_spec("pydantic_core._pydantic_core"))
"""Modules that need all system libraries which wheels may count on (PEP 600), C++'s too."""
_NODE_MODULES = Path("/usr/share/nodejs")
_NODE_BUILTINS = ("acorn", "acorn-walk", "cjs-module-lexer", "minimatch", "undici")
_LIBRARY = re.compile(r"(?:=>\s*)?(?P<path>/\S+)\s+\(0x")


class DockerUnavailable(RuntimeError):
    """No engine can be had on this machine; the text says why."""


class Docker:
    """One engine."""

    def __init__(self, directory: Path, *, networks: bool = False) -> None:
        """
        Args:
            networks: it has a bridge and firewall rules, as an engine of a host has. Start it in a network namespace
                of the test's own.
        """
        self._directory = directory
        self._networks = networks
        self._engine: subprocess.Popen[bytes] | None = None
        self.socket = directory / "docker.sock"

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
    def host(self) -> str:
        """What clients take as DOCKER_HOST."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start the engine and wait until it answers. After `stop` it finds the same images and containers.

        Raises DockerUnavailable."""
        if os.geteuid() != 0:
            raise DockerUnavailable("a Docker engine of the tests' own needs root")
        program = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin")
        if program is None or shutil.which("docker") is None:
            raise DockerUnavailable("dockerd is not installed: it comes with the package docker.io")
        command = [program, "--host", self.host, "--data-root", str(self._directory / "data")]
        command += ["--exec-root", str(self._directory / "run"), "--pidfile", str(self._directory / "pid")]
        command += ["--exec-opt", "native.cgroupdriver=cgroupfs"]
        if not self._networks:
            command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
            command += ["--ip-forward=false", "--ip-masq=false"]
        self._directory.mkdir(parents=True, exist_ok=True)
        empty = self._directory / "daemon.json"
        empty.write_text("{}")
        with (self._directory / "log").open("ab") as out:
            self._engine = subprocess.Popen(
                [*command, "--config-file", str(empty)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._engine.poll() is not None:
                raise DockerUnavailable(f"dockerd ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise DockerUnavailable(f"dockerd did not answer in {START_SECONDS:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the engine in order, and with it its containers."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the engine at once. Its containers end, or are ended when it starts again."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End the engine, and remove its data."""
        self.stop()
        for namespace in self._directory.glob("run/netns/*"):  # mounts, which the engine leaves behind
            subprocess.run(["umount", str(namespace)], check=False, stderr=subprocess.DEVNULL, timeout=STOP_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self, *arguments: str) -> str:
        """What a `docker` command prints. Raises AssertionError with what it says when it fails."""
        done = self._command(arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def logs(self, container: str) -> str:
        """All that a container printed, on standard error too."""
        done = self._command(["logs", container])
        return done.stdout + done.stderr

    def _command(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env=self._environment(),
        )

    def log_tail(self) -> str:
        """The end of what the engine wrote, for the message of a failure."""
        return (self._directory / "log").read_text(errors="replace")[-3000:]

    def _answers(self) -> bool:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env=self._environment(),
        )
        return asked.returncode == 0

    def _end(self, how: signal.Signals) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        engine.send_signal(how)
        try:
            engine.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait(STOP_SECONDS)

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._directory),
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self._directory / "config"),
        }


def python_root(archive: Path, *, node: Path | None = None) -> Path:
    """Write the tar archive of a root folder that holds this machine's Python as /usr/local/bin/python3.N, and a
    shell; for `docker import` or as the layer of a base image. It has the libraries that the interpreter needs and
    those that wheels may need, as Debian's images have them, and nothing else.

    Args:
        node: this machine's Node.js; the folder has what that needs besides, and not itself.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    modules = [
        *library.glob("lib-dynload/*.so"),
        *(Path(found.origin) for found in _BINARY if found and found.origin),
    ]
    shell = Path("/bin/sh").resolve()
    with tarfile.open(archive, "w") as root:
        files = {f"usr/local/bin/{version}": binary, "bin/sh": shell}
        files |= {f"usr/local/lib/{version}/{path.relative_to(library)}": path for path in _files(library)}
        programs = [binary, shell, *modules, *([] if node is None else [node])]
        beside = sorted(_libraries(programs) | (_builtins() if node else set()))
        files |= {str(path).lstrip("/"): path for path in beside}
        folders = {str(folder) for name in files for folder in Path(name).parents} - {"."}
        for name in sorted({*folders, "tmp", "etc"}):  # an engine closes folders that it has to make up
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            root.addfile(entry)
        for name in ("python", "python3"):
            link = tarfile.TarInfo(f"usr/local/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, version
            root.addfile(link)
        for name, path in files.items():
            _add(root, path, name)
    return archive


def _add(root: tarfile.TarFile, path: Path, name: str) -> None:
    entry = root.gettarinfo(str(path.resolve()), arcname=name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o111 else 0o644
    entry.mtime = 0
    with path.open("rb") as content:
        root.addfile(entry, content)


def _files(library: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(library):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT and not name.startswith("config-"))
        for name in sorted(files):
            if not name.endswith((".a", ".pyc", ".exe")):
                yield Path(folder, name)


def _builtins() -> set[Path]:
    """What Node.js reads at its start where Debian has taken it out of the program."""
    return {path for name in _NODE_BUILTINS for path in (_NODE_MODULES / name).rglob("*") if path.is_file()}


def _libraries(programs: list[Path]) -> set[Path]:
    """The shared libraries of programs, under the names by which the loader asks for them."""
    said = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    return {Path(found["path"]) for found in _LIBRARY.finditer(said.stdout)}
