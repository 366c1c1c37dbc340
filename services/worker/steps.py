"""Runs the programs that build and install for an owner: confined, as the owner's own user, with the owner's own
package cache. What one owner's packages do there can reach that owner's builds and environments only."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from libs.common import logs
from services.worker.cache import Cache
from services.worker.files import remove
from services.worker.folders import Folders
from services.worker.processes import marked
from services.worker.sandbox import MARK, Job, Limits, Sandbox
from services.worker.users import Users

log = logs.get(__name__)

Say = Callable[[str], object]
"""Takes output as it comes, in pieces of any length."""

_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PIECE = 1 << 16
_KEPT = 1 << 16


class StepFailed(RuntimeError):
    """A program ended with an error. `output` is the end of what it said."""

    def __init__(self, program: str, status: int | None, output: str) -> None:
        super().__init__(f"{program} ended with status {status}")
        self.status = status
        self.output = output


@dataclass(frozen=True)
class Workspace:
    """Where one owner's programs work for a while."""

    folder: Path
    """What the worker lays out for them; they only read it."""
    tmp: Path
    """Their /tmp, which they may write."""
    cache: Path
    """The owner's package cache, which they may write and which stays."""
    uid: int | None


class Steps:
    """Makes workspaces and runs programs in them."""

    def __init__(self, sandbox: Sandbox, folders: Folders, users: Users, limits: Limits, *, mark: str) -> None:
        """
        Args:
            mark: begins the name of every sandbox of this worker.
        """
        self.packages = Cache(folders.packages)
        self._sandbox = sandbox
        self._folders = folders
        self._users = users
        self._limits = limits
        self._mark = mark

    @asynccontextmanager
    async def workspace(self, owner: str) -> AsyncIterator[Workspace]:
        """An empty workspace that is removed at the end of the context."""
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} cannot name an owner's folder")
        folder = self._folders.work / uuid4().hex[:8]
        folder.mkdir(mode=0o711)
        self.packages.keep(owner, folder.name)
        try:
            cache = self._folders.packages / owner
            uid = self._users.own(cache)
            yield Workspace(folder, own_folder(folder / "tmp", uid), cache, uid)
            await self.packages.measure(owner)
        finally:
            self.packages.give_back(owner, folder.name)
            await asyncio.to_thread(remove, folder)

    async def clear(self) -> None:
        """Kill what an earlier worker's programs left, should it have been killed together with their launchers."""
        for pid, name in (await asyncio.to_thread(marked, MARK)).items():
            if name.startswith(f"{self._mark}."):
                log.warning("stray_process_killed", pid=pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def private_tmp(self) -> bool:
        """Programs have a /tmp of their own."""
        return self._sandbox.confinement.private_tmp

    def inside(self, place: Workspace) -> Path:
        """The path of the workspace's `tmp` as its programs see it."""
        return Path("/tmp") if self.private_tmp else place.tmp  # noqa: S108 - their own

    async def run(
        self,
        place: Workspace,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        say: Say,
        readable: Sequence[Path] = (),
        use_cache: bool = True,
        memory_mib: int | None = None,
    ) -> None:
        """Run one program to its end.

        Args:
            use_cache: it may read and write the owner's package cache.
            memory_mib: most memory that each of its processes may allocate.

        Raises:
            StepFailed: it ended with another status than 0.
        """
        limits = self._limits
        job = Job(
            name=f"{self._mark}.{place.folder.name}",
            command=command,
            cwd=cwd,
            folder=place.folder,
            environment=environment,
            readable=[place.folder, *readable],
            writable=[place.cache] if use_cache else [],
            uid=place.uid,
            limits=Limits(memory_mib, limits.processes, limits.open_files, limits.file_mib),
        )
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        kept = ""
        async with self._sandbox.running(job) as (process, output):
            while piece := await output.read(_PIECE):
                text = decoder.decode(piece)
                kept = (kept + text)[-_KEPT:]
                say(text)
            status = await process.wait()
        if status != 0:
            raise StepFailed(Path(command[0]).name, status, kept)


def own_folder(path: Path, uid: int | None) -> Path:
    """A new folder that only one sandbox's user may enter."""
    path.mkdir(mode=0o700)
    give(path, uid)
    return path


def give(path: Path, uid: int | None) -> None:
    """Make a sandbox's user the only one who may use a file or folder."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if uid is not None:
        os.chown(path, uid, uid)
