"""One process that this program started, or found again after a restart: is it there, until when, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

_KILL_SECONDS = 10.0


class ProcessGone(LookupError):
    """There is no such process any more, or its number belongs to another one by now."""


class Process:
    """Watched through a pidfd (pidfd_open(2)), so that a reused process number is never mistaken for it.

    Attributes:
        pid: its number here.
        started: ticks from boot to its start (`/proc/PID/stat`), which together with `pid` name it for good.
        ended: done when the process has ended; its exit status (-N after signal N), None when it was not started by
            this program.
    """

    def __init__(self, pid: int, started: int | None = None) -> None:
        """Needs a running event loop. Raises ProcessGone.

        Args:
            started: of the process that is meant, when it is found again; None for a new child.
        """
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise ProcessGone(f"process {pid} has ended") from error
        self.pid = pid
        found = _start_ticks(pid)
        if found is None or (started is not None and found != (started, True)):
            os.close(self._descriptor)
            raise ProcessGone(f"process {pid} has ended")
        self.started = found[0]
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int | None] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._on_end)

    @property
    def running(self) -> bool:
        return not self.ended.done()

    async def wait(self) -> int | None:
        """Wait for its end. Cancelling the wait changes nothing for the process."""
        return await asyncio.shield(self.ended)

    def signal(self, number: int) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    async def end(self, *, patience: float = 3.0) -> int | None:
        """Ask it to end with SIGTERM, kill it after `patience` seconds, wait until it is gone; its status, if known.

        Raises TimeoutError for a process that cannot be killed: it hangs in the kernel.
        """
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                return await self.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            async with asyncio.timeout(_KILL_SECONDS):
                return await self.wait()

    def let_go(self) -> None:
        """Stop watching. The process goes on."""
        if self.running:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.ended.cancel()

    def _on_end(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        status = None
        with contextlib.suppress(ChildProcessError):
            _, wait_status = os.waitpid(self.pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(wait_status)
        if not self.ended.done():
            self.ended.set_result(status)


def _start_ticks(pid: int) -> tuple[int, bool] | None:
    """When the process started, and whether it runs or only waits for its parent to ask how it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]), fields[0] not in (b"Z", b"X")


def marked(variable: str) -> dict[int, str]:
    """Processes that were started with an environment variable, and its value, as far as this user may see."""
    name = f"{variable}=".encode()
    found = {}
    for folder in _folders():
        with contextlib.suppress(OSError):
            for entry in (folder / "environ").read_bytes().split(b"\0"):
                if entry.startswith(name):
                    found[int(folder.name)] = entry.removeprefix(name).decode(errors="replace")
    return found


def of_user(uid: int) -> list[int]:
    """Processes that run as a user."""
    found = []
    for folder in _folders():
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == uid:
                found.append(int(folder.name))
    return found


def _folders() -> list[Path]:
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
