"""Confines what algorithms bring along: their code, and the code of their requirements.

Three kinds, from strong to weak; which one works is tried at the start, by doing it:

* `namespaces`: the program sees its own files and a read-only system, its own processes and its own /tmp. As
  root it also becomes a user of its own; as an ordinary user it needs unprivileged user namespaces.
* `uid` (root without mounts, as in an ordinary container): a user of its own, so file permissions protect the rest.
* `none`: resource limits and a clean environment only. It can read whatever the worker's user can.

In all of them it gets no variable and no open file of the worker, cannot gain privileges, and everything it
started ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from libs.common import logs
from services.worker.output_pipe import OutputPipe
from services.worker.processes import Process, marked, of_user
from services.worker.settings import SandboxChoice

if TYPE_CHECKING:
    from services.worker.launcher.request import LimitValues, Mode, Request

log = logs.get(__name__)

MARK = "CONSTELLATION_SANDBOX"
"""Environment variable of everything in one sandbox; its value is the sandbox's name."""

_CODE = Path(__file__).parents[2]
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]);from services.worker.launcher.main import main; sys.exit(main())"
)
SHM_MIB = 64
"""Size of /dev/shm."""
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
_PROBE_SECONDS = 20.0
_SWEEP_SECONDS = 5.0
_SWEEP_PAUSE_SECONDS = 0.03
_CLEAN_LOOKS = 10
"""A process that is about to execute another program shows no mark for a moment."""
_LAUNCHER_WAS_KILLED = (None, -signal.SIGKILL)
"""Its status then, or where it is not known."""
_PROBE = (
    'for program; do test -x "$program" || echo "$program cannot be reached"; done; '
    'touch "$TMPDIR/written" || echo "$TMPDIR cannot be written"'
)


class SandboxUnavailable(RuntimeError):
    """The confinement that was asked for does not work here; the text says what to do."""


@dataclass(frozen=True)
class Limits:
    """Resource limits of a program and of each of its descendants (getrlimit(2)); None leaves one as it is."""

    data_mib: int | None = None
    """Memory that one process may allocate, in MiB."""
    processes: int | None = None
    """Of its user; without a user of its own there is no such limit, since it would count everything else."""
    open_files: int | None = None
    file_mib: int | None = None
    """Largest file that may be written, in MiB."""


@dataclass(frozen=True)
class Confinement:
    """What works on this machine."""

    mode: Mode
    new_users: bool = False
    """Namespaces of an ordinary user."""
    isolated_network: bool = False

    @property
    def private_tmp(self) -> bool:
        return self.mode == "namespaces"

    @property
    def private_devices(self) -> bool:
        """A program sees the harmless devices and those that it is given, and no other ones."""
        return self.mode == "namespaces"

    @property
    def own_users(self) -> bool:
        """Each sandbox runs as a user of its own."""
        return self.mode != "none" and not self.new_users


@dataclass(frozen=True)
class Job:
    """A program to confine."""

    name: str
    """Unique on this machine, for finding what is left of it."""
    command: Sequence[str]
    cwd: Path
    folder: Path
    """A folder of its own, with a folder `tmp` that the program may write."""
    environment: Mapping[str, str]
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    devices: Mapping[str, Path] = field(default_factory=dict)
    """Device nodes that the program gets, by the name in /dev, where programs see no others."""
    uid: int | None = None
    """User to run as where each sandbox has one of its own."""
    limits: Limits = field(default_factory=Limits)
    isolated: bool = False
    """No network but its own loopback."""
    entrance: tuple[str, int] | None = None
    """Isolated programs: host and port outside whose connections reach that port of the program's loopback."""


class Sandbox:
    """Starts confined programs."""

    def __init__(
        self, confinement: Confinement, root: Path, *, visible: Sequence[Path] = (), hidden: Sequence[Path] = ()
    ) -> None:
        """
        Args:
            root: an empty folder, where each sandbox puts its own root together, seen by itself alone.
            visible: what every program may read, besides the system.
            hidden: folders of the system that no program sees.
        """
        self.confinement = confinement
        self._root = root
        self._visible = [str(path.resolve()) for path in visible]
        self._hidden = _outermost(hidden)

    def start(
        self, job: Job, output: int, *, tied: bool = False, record: Callable[[Process], None] | None = None
    ) -> Process:
        """Start a program whose output goes to an open file.

        Args:
            tied: the program ends when this process does, however it ends.
            record: called with the process before the program begins: whatever it raises keeps the program
                from starting, and if the worker dies before it returns, nothing starts.
        """
        request = marshal.dumps(dict(self._request(job, tied=tied)))
        hold, ours = os.pipe()
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(_CODE)],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, hold, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
            )
            os.close(hold)
            hold = -1
            process = Process(pid)
            if record is not None:
                record(process)
            with open(ours, "wb", closefd=False) as pipe:
                pipe.write(request)
            return process
        finally:
            os.close(ours)
            if hold >= 0:
                os.close(hold)

    @asynccontextmanager
    async def running(self, job: Job) -> AsyncIterator[tuple[Process, asyncio.StreamReader]]:
        """A program while the context is open, with what it prints. Leaving the context ends all of it."""
        reading, writing = os.pipe()
        try:
            process = self.start(job, writing, tied=True)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        pipe = OutputPipe(reading)
        try:
            yield process, pipe.output
        finally:
            await asyncio.shield(self.end(process, job.name, job.uid))
            pipe.close()

    async def end(self, process: Process, name: str, uid: int | None, *, patience: float = 3.0) -> None:
        """End a sandbox and everything in it. Raises TimeoutError for what cannot be killed."""
        status = await process.end(patience=patience)
        if status in _LAUNCHER_WAS_KILLED:
            await self.sweep(name, uid)

    async def sweep(self, name: str, uid: int | None) -> None:
        """Kill what is left of a sandbox whose launcher was killed before it could, and see that it is gone."""
        end = monotonic() + _SWEEP_SECONDS
        clean = 0
        while clean < _CLEAN_LOOKS:
            left = await asyncio.to_thread(self._left, name, uid)
            clean = 0 if left else clean + 1
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if monotonic() > end:
                log.error("sandbox_not_swept", left=len(left))
                return
            await asyncio.sleep(_SWEEP_PAUSE_SECONDS)

    def _left(self, name: str, uid: int | None) -> list[int]:
        """Processes of a sandbox: those with its mark, and those of its user that have wiped theirs. The same user
        may serve another worker of this machine, whose marks are others."""
        marks = marked(MARK)
        left = [pid for pid, mark in marks.items() if mark == name]
        if self.confinement.mode == "uid" and uid is not None:
            left += [pid for pid in of_user(uid) if pid not in marks]
        return left

    def _request(self, job: Job, *, tied: bool) -> Request:
        confined = self.confinement
        scratch = job.folder / "tmp"
        temporary = "/tmp" if confined.private_tmp else str(scratch)  # noqa: S108 - the program's own
        if job.isolated and confined.mode != "namespaces":
            raise SandboxUnavailable("this worker cannot take away the network, so it must not run this")
        limits: LimitValues = {
            "data_mib": job.limits.data_mib,
            "processes": None if confined.mode == "none" else job.limits.processes,
            "open_files": job.limits.open_files,
            "file_mib": job.limits.file_mib,
        }
        return {
            "command": list(job.command),
            "cwd": str(job.cwd),
            "environment": {**base_environment(temporary), **job.environment, MARK: job.name},
            "mode": confined.mode,
            "new_users": confined.new_users,
            "uid": job.uid if confined.own_users else None,
            "root": str(self._root),
            "scratch": str(scratch),
            "system": [*_SYSTEM, os.path.realpath("/etc/resolv.conf"), *self._visible],
            "hidden": self._hidden,
            "readable": [str(path.resolve()) for path in job.readable],
            "writable": [str(path.resolve()) for path in job.writable],
            "devices": {name: str(path.resolve()) for name, path in job.devices.items()},
            "shm_mib": SHM_MIB,
            "tied_to": os.getpid() if tied else None,
            "isolated": job.isolated,
            "entrance": job.entrance,
            "limits": limits,
        }


async def detect(
    choice: SandboxChoice,
    folder: Path,
    root: Path,
    *,
    programs: Sequence[Path],
    visible: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    uid: int,
) -> Sandbox:
    """The strongest sandbox that works here and is allowed by `choice`, found by running something in each.

    Args:
        folder: where to try, with the same parents as the folders of real jobs.
        root: as for Sandbox.
        programs: executables that must be found inside.
        uid: an unprivileged user to try with.

    Raises:
        SandboxUnavailable: what was asked for by name does not work.
    """
    candidates = {
        "namespaces": [
            Confinement("namespaces", new_users=os.geteuid() != 0, isolated_network=True),
            Confinement("namespaces", new_users=os.geteuid() != 0),
        ],
        "uid": [Confinement("uid")] if os.geteuid() == 0 else [],
        "off": [Confinement("none")],
    }
    wanted = ["namespaces", "uid", "off"] if choice == "auto" else [choice]
    failures: list[str] = []
    for confinement in (one for name in wanted for one in candidates[name]):
        sandbox = Sandbox(confinement, root, visible=visible, hidden=hidden)
        failure = await _probe(sandbox, folder, programs, uid)
        if failure is None:
            _tell(confinement, failures)
            return sandbox
        failures.append(f"{confinement.mode}: {failure}")
    raise SandboxUnavailable(
        f"the sandbox '{choice}' does not work here ({'; '.join(failures) or 'it needs root'}); "
        "choose another with CONSTELLATION_SANDBOX"
    )


async def _probe(sandbox: Sandbox, folder: Path, programs: Sequence[Path], uid: int) -> str | None:
    """None when it works, else why not."""
    place = folder / uuid4().hex[:8]
    (place / "tmp").mkdir(parents=True)
    own = uid if sandbox.confinement.own_users else None
    if own is not None:
        os.chown(place / "tmp", own, own)
    job = Job(
        name=place.name,
        command=["/bin/sh", "-c", _PROBE, "probe", *map(str, programs)],
        cwd=Path("/"),
        folder=place,
        environment={},
        readable=programs,
        uid=own,
        isolated=sandbox.confinement.isolated_network,
    )
    try:
        async with asyncio.timeout(_PROBE_SECONDS), sandbox.running(job) as (process, output):
            said = (await output.read()).decode(errors="replace").strip()
            status = await process.wait()
        if status == 0 and not said:
            return None
        return said.splitlines()[-1] if said else f"a program in it ended with status {status}"
    except OSError as error:
        return f"no program could be started in it: {error}"
    except TimeoutError:
        return f"a program in it did not end within {_PROBE_SECONDS:.0f} s"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tell(confinement: Confinement, failures: Sequence[str]) -> None:
    if confinement.mode == "none":
        log.warning(
            "sandbox_is_off",
            consequence="algorithms and builds can read what the user of this worker can; run trusted ones only",
            tried=list(failures),
        )
    else:
        log.info(
            "sandbox_ready",
            mode=confinement.mode,
            own_users=confinement.own_users,
            isolated_network=confinement.isolated_network,
            tried=list(failures),
        )


def base_environment(temporary: str) -> dict[str, str]:
    """Variables of every confined program, whose temporary folder is `temporary`."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": temporary,
        "TMPDIR": temporary,
        "USER": "algorithm",
        "LOGNAME": "algorithm",
    }


def _outermost(folders: Sequence[Path]) -> list[str]:
    """The folders, resolved, without those inside another one: a folder is emptied once."""
    resolved = {folder.resolve() for folder in folders}
    return sorted(str(one) for one in resolved if not resolved.intersection(one.parents))
