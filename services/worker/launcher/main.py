"""The launcher's processes (see the package's documentation)."""

from __future__ import annotations

import contextlib
import marshal
import os
import resource
import signal
import sys
import time

from services.worker.launcher import namespaces, root
from services.worker.launcher.request import PREFIX, SETUP_FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from services.worker.launcher.request import LimitValues, Request

_PAUSE_SECONDS = 0.002


class Terminated(BaseException):
    """SIGTERM came."""


def main() -> int:
    """Gives the exit status."""
    try:
        request: Request = marshal.loads(sys.stdin.buffer.read())  # noqa: S302 - from the process that started this one
    except (EOFError, ValueError, TypeError):
        _say("started without a request")
        return SETUP_FAILED
    _let_go_of_input()
    os.umask(0o022)
    os.chdir("/")
    try:
        signal.signal(signal.SIGTERM, _raise_terminated)
        if request["tied_to"] is not None:
            namespaces.die_with_parent(signal.SIGTERM)
            if os.getppid() != request["tied_to"]:  # it ended before the line above
                return 128 + signal.SIGTERM
        if request["mode"] == "namespaces":
            return _in_namespaces(request)
        return _in_process_tree(request)
    except OSError as error:
        _say(f"the sandbox could not be set up: {error.strerror}")
        return SETUP_FAILED
    except Terminated:
        return 128 + signal.SIGTERM


def _in_namespaces(request: Request) -> int:
    if request["new_users"]:
        uid, gid = os.getuid(), os.getgid()
        namespaces.unshare(namespaces.NEW_USERS)
        namespaces.map_own_user(uid, gid)
    namespaces.forbid_tracing()
    entrance = None if request["entrance"] is None else _listen(*request["entrance"][:2])
    namespaces.unshare(namespaces.NEW_PIDS)
    first = _fork(lambda: _first_process(request, entrance))
    if entrance is not None:
        entrance.close()
    try:
        return _status(os.waitpid(first, 0)[1])
    except Terminated:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)  # returns when the kernel has killed all that was in there
        return 128 + signal.SIGTERM


def _first_process(request: Request, entrance: socket.socket | None) -> int:
    """Process 1 of the new pid namespace: its end is the end of everything in there."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    network = namespaces.NEW_NETWORK if request["isolated"] else 0
    try:
        namespaces.unshare(namespaces.NEW_MOUNTS | namespaces.NEW_IPC | network)
        root.enter(request)
        if network:
            namespaces.bring_up_loopback()
    except OSError as error:
        _say(f"the sandbox could not be set up: {error.strerror}")
        return SETUP_FAILED
    if entrance is not None and request["entrance"] is not None:
        carrying, target = entrance, request["entrance"][2]
        _fork(lambda: _carry(carrying, target, request["uid"]))
        entrance.close()
    program = _fork(lambda: _become(request), die_with_parent=False)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            return _status(status)


def _in_process_tree(request: Request) -> int:
    namespaces.forbid_tracing()
    namespaces.adopt_orphans()
    try:
        program = _fork(lambda: _become(request), die_with_parent=False)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == program:
                return _status(status)
    except Terminated:
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_children()


def _become(request: Request) -> NoReturn:
    """Turn this process into the program."""
    command = request["command"]
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _limit(request["limits"])
        _change_user(request["uid"])
        if request["mode"] != "namespaces":
            namespaces.die_with_parent()
        os.chdir(request["cwd"])
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.execve(command[0], command, request["environment"])  # noqa: S606 - what the launcher is for
    except OSError as error:
        _say(f"{command[0]} could not be started: {error.strerror}")
    os._exit(SETUP_FAILED)


def _limit(limits: LimitValues) -> None:
    data, file = limits["data_mib"], limits["file_mib"]
    wanted = {
        resource.RLIMIT_DATA: None if data is None else data << 20,
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_FSIZE: None if file is None else file << 20,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        if value is not None:
            hard = resource.getrlimit(kind)[1]
            allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (allowed, allowed))


def _change_user(uid: int | None) -> None:
    """Become an unprivileged user for good, with no keys of the old one. Forgets what `die_with_parent` asked for."""
    namespaces.leave_keyring()
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    namespaces.forbid_new_privileges()


def _listen(host: str, port: int) -> socket.socket:
    from services.worker.launcher import forwarder  # noqa: PLC0415 - few sandboxes need it

    return forwarder.listen(host, port)


def _carry(entrance: socket.socket, target: str, uid: int | None) -> int:
    """Forward connections, without this process's rights, for as long as its parent lives."""
    from services.worker.launcher import forwarder  # noqa: PLC0415 - few sandboxes need it

    _change_user(uid)
    namespaces.die_with_parent()
    forwarder.run(entrance, target)
    return 0


def _fork(run: Callable[[], int], *, die_with_parent: bool = True) -> int:
    """Run a function in a child process, which exits with what it returns. Gives the child's pid."""
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
        time.sleep(_PAUSE_SECONDS)


def _children() -> list[int]:
    me = str(os.getpid()).encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[1] == me:
                    found.append(int(entry))
    return found


def _let_go_of_input() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _raise_terminated(_: int, __: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _say(text: str) -> None:
    os.write(2, f"{PREFIX}{text}\n".encode())
