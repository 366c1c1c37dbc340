"""Starts one confined program, and ends with all that came of it. Runs as a process of its own.

Reads a `Request` as JSON from standard input, up to its end; without a whole request it starts nothing. The
program gets `/dev/null` as standard input and this process's standard output and error.

With namespaces there are three processes: this one, which waits; the first process of the new pid namespace,
which sets up what the program sees and reaps; and the program. Killing any of the first two makes the kernel
kill everything in the namespace. Without namespaces this process adopts orphans, and kills all its descendants
when the program ends or SIGTERM comes.

Exit status: the program's, 128 + N after signal N, `SETUP_FAILED` when the program could not be confined.
Standard library only: it is executed with `python -I -S`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

from services.worker import forwarder, namespaces

SETUP_FAILED = 120
PREFIX = "constellation: "
"""Begins every line that the launcher itself writes to standard error."""

Mode = Literal["namespaces", "uid", "none"]

_MOUNT_POINTS_MIB = 8
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


@dataclass(frozen=True)
class Limits:
    """Resource limits of the program and of each of its descendants (getrlimit(2)); None leaves one as it is."""

    data_mib: int | None = None
    """Memory that one process may allocate, in MiB."""
    processes: int | None = None
    open_files: int | None = None
    file_mib: int | None = None
    """Largest file that may be written, in MiB."""


@dataclass(frozen=True)
class Request:
    """What to start, and in which confinement. All paths are absolute and without symbolic links."""

    command: list[str]
    cwd: str
    environment: dict[str, str]
    mode: Mode
    new_users: bool = False
    """Get the namespaces through a user namespace, as a user without privileges must."""
    uid: int | None = None
    """User and group to become; None stays."""
    root: str | None = None
    """Empty folder where the program's root is put together. Needed for namespaces, as is `scratch`."""
    scratch: str | None = None
    """Folder that the program sees as `/tmp`."""
    readable: list[str] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    """Shown empty, except for what the other lists name below them."""
    system: list[str] = field(default_factory=list)
    """Parts of the machine that the program sees, unchangeable. What does not exist is skipped."""
    tied: bool = False
    """End with the process that asked, however it ends."""
    isolated: bool = False
    """No network but the program's own loopback."""
    entrance: str | None = None
    """Isolated programs: `HOST:PORT` outside whose connections reach the program's own loopback at that port."""
    shm_mib: int = 64
    limits: Limits = field(default_factory=Limits)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> Request:
        """Raises ValueError for anything that is not a whole request."""
        members = json.loads(text)
        return cls(**{**members, "limits": Limits(**members["limits"])})


class _Terminated(BaseException):
    """SIGTERM came."""


def main() -> int:
    try:
        request = Request.decode(sys.stdin.buffer.read())
    except ValueError:
        _say("started without a request")
        return SETUP_FAILED
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - the launcher keeps to what starts fast
        os.dup2(nothing.fileno(), 0)
    os.umask(0o022)
    os.chdir("/")
    try:
        if request.tied:
            namespaces.die_with_parent()
        if request.mode == "namespaces":
            return _in_namespaces(request)
        return _in_process_tree(request)
    except OSError as error:
        _say(f"the sandbox could not be set up: {error.strerror}")
        return SETUP_FAILED


def _in_namespaces(request: Request) -> int:
    if request.new_users:
        uid, gid = os.getuid(), os.getgid()
        namespaces.unshare(namespaces.NEW_USERS)
        namespaces.map_own_user(uid, gid)
    namespaces.forbid_tracing()
    entrance = None if request.entrance is None else forwarder.listen_tcp(request.entrance)
    namespaces.unshare(namespaces.NEW_PIDS)
    first = _fork(lambda: _first_process(request, entrance))
    if entrance is not None:
        entrance.close()
    return _status(os.waitpid(first, 0)[1])


def _first_process(request: Request, entrance: socket.socket | None) -> int:
    """Process 1 of the new pid namespace: its end is the end of everything in there."""
    try:
        namespaces.unshare(
            namespaces.NEW_MOUNTS | namespaces.NEW_IPC | (namespaces.NEW_NETWORK if request.isolated else 0)
        )
        _enter_root(request)
        if request.isolated:
            namespaces.bring_up_loopback()
        if entrance is not None:
            _forward(entrance, ("127.0.0.1", entrance.getsockname()[1]), request.uid)
    except OSError as error:
        _say(f"the sandbox could not be set up: {error.strerror}")
        return SETUP_FAILED
    program = _fork(lambda: _become(request), die_with_parent=False)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            return _status(status)


def _in_process_tree(request: Request) -> int:
    signal.signal(signal.SIGTERM, _raise_terminated)
    namespaces.forbid_tracing()
    namespaces.adopt_orphans()
    program = _fork(lambda: _become(request), die_with_parent=False)
    try:
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == program:
                return _status(status)
    except _Terminated:
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_children()


def _become(request: Request) -> NoReturn:
    """Turn this process into the program."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _limit(request.limits)
        _change_user(request.uid)
        if request.mode != "namespaces":
            namespaces.die_with_parent()
        os.chdir(request.cwd)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.execve(request.command[0], request.command, request.environment)  # noqa: S606 - what the launcher is for
    except OSError as error:
        _say(f"{request.command[0]} could not be started: {error.strerror}")
    os._exit(SETUP_FAILED)


def _enter_root(request: Request) -> None:
    """Put together what the program may see, and make it the root. Everything else is not there for it."""
    if request.root is None or request.scratch is None:
        raise OSError(0, "the request names no folders for its root")
    root = Path(request.root)
    namespaces.make_mounts_private()
    namespaces.mount_tmpfs(root, mode=0o755, size_mib=_MOUNT_POINTS_MIB)
    for place in ("/tmp", "/var/tmp"):  # noqa: S108 - the program's own
        _show(root, Path(request.scratch), read_only=False, at=Path(place))
    for path in request.system:
        _show(root, Path(path), read_only=True)
    emptied = [point for path in request.hidden if (point := _inside(root, Path(path))).is_dir()]
    for point in emptied:
        namespaces.mount_tmpfs(point, mode=0o755, size_mib=_MOUNT_POINTS_MIB)
    below = [path for path in request.system if any(Path(path).is_relative_to(hidden) for hidden in request.hidden)]
    for path in (*below, *request.readable):
        _show(root, Path(path), read_only=True)
    for path in request.writable:
        _show(root, Path(path), read_only=False)
    _make_devices(root, request.shm_mib)
    (root / "run").mkdir(exist_ok=True)
    (root / "proc").mkdir()
    namespaces.mount_proc(root / "proc")
    for point in (*emptied, root / "dev", root):
        namespaces.seal(point)
    namespaces.pivot_root(root)


def _show(root: Path, source: Path, *, read_only: bool, at: Path | None = None) -> None:
    target = _inside(root, at or source)
    if source.is_symlink():
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.readlink())
        return
    if not source.exists():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    namespaces.bind(source, target)
    if read_only:
        namespaces.make_read_only(target)


def _make_devices(root: Path, shm_mib: int) -> None:
    devices = root / "dev"
    devices.mkdir(exist_ok=True)
    namespaces.mount_tmpfs(devices, mode=0o755, size_mib=1)
    for name in _DEVICES:
        (devices / name).touch()
        namespaces.bind(Path("/dev", name), devices / name)
    for name, target in _DEVICE_LINKS.items():
        (devices / name).symlink_to(target)
    (devices / "shm").mkdir()
    namespaces.mount_tmpfs(devices / "shm", mode=0o1777, size_mib=shm_mib)


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _limit(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_DATA: None if limits.data_mib is None else limits.data_mib << 20,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: None if limits.file_mib is None else limits.file_mib << 20,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        if value is not None:
            hard = resource.getrlimit(kind)[1]
            allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (allowed, allowed))


def _forward(listener: socket.socket, target: tuple[str, int], uid: int | None) -> None:
    """Carry connections in a process of its own that lives as long as this one, without its rights."""

    def run() -> int:
        _change_user(uid)
        namespaces.die_with_parent()
        forwarder.run(listener, target)
        return 0

    _fork(run)
    listener.close()


def _change_user(uid: int | None) -> None:
    """Become an unprivileged user for good. Forgets what `die_with_parent` asked for."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    namespaces.forbid_new_privileges()


def _fork(run: Callable[[], int], *, die_with_parent: bool = True) -> int:
    """Run a function in a child process, which exits with what it returns. Returns the child's pid."""
    alive, mine = os.pipe()
    pid = os.fork()
    if pid:
        os.close(alive)
        os.write(mine, b".")
        os.close(mine)
        return pid
    status = SETUP_FAILED
    try:
        os.close(mine)
        if die_with_parent:
            namespaces.die_with_parent()
        if os.read(alive, 1):  # nothing comes from a parent that ended before the line above
            os.close(alive)
            status = run()
    finally:
        os._exit(status)


def _end_children() -> None:
    """Kill every descendant. Orphans become children of this process, so none is left at the end."""
    while True:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _children() -> list[int]:
    me = str(os.getpid()).encode()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit():
            with contextlib.suppress(OSError):
                after_name = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()
                if after_name[1] == me:
                    found.append(int(entry))
    return found


def _status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _raise_terminated(_: int, __: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _say(text: str) -> None:
    os.write(2, f"{PREFIX}{text}\n".encode())
