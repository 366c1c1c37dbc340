"""The process tree below this one: who is in it, and how to end all of it.

Relies on `linux.adopt_orphans`: whatever a descendant does (fork, setsid, exec), it stays in the tree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PAUSE_S = 0.002


def children(pid: int) -> list[int]:
    """Those processes that `pid` is the parent of, at this moment."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if os.path.exists("/proc/self/task") and not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
                return _children_by_scan(pid)
        except OSError:
            continue
    return found


def _children_by_scan(pid: int) -> list[int]:
    """The same on kernels without that file."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()
                if int(after_name[1]) == pid:
                    found.append(int(entry))
    return found


def descendants() -> list[int]:
    """All processes below this one, parents before children."""
    found = children(os.getpid())
    for pid in found:  # grows while it is walked
        found += children(pid)
    return found


def reap() -> dict[int, int]:
    """Wait status by pid of every child that has ended."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def end_descendants(timeout: float) -> dict[int, int]:
    """Kill every process below this one and reap them. Gives the wait statuses. Raises TimeoutError when
    some are still there after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    ended: dict[int, int] = {}
    while True:
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended.update(reap())
        if not _has_children():
            return ended
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {descendants()[:10]} could not be ended")
        time.sleep(_PAUSE_S)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def describe(status: int) -> str:
    """How a process ended, in words that a caller of the algorithm reads."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if number == signal.SIGKILL:
            return f"was killed by signal {number} ({name}); it may have run out of memory"
        return f"was killed by signal {number} ({name})"
    return f"exited with code {os.WEXITSTATUS(status)}"
