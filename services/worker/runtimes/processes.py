"""Replicas as confined processes of this machine (see sandbox.py).

A note in the replica's folder, written before its program begins, says which process is its launcher. Everything in
a sandbox carries its name as well, by which what has no note is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from libs.common.contracts.identity import Wire
from libs.common.hosts import host_id
from services.worker import gpus
from services.worker.files import tail, write_private
from services.worker.processes import Process, ProcessGone, marked
from services.worker.runtimes.protocol import Container, Exit, Inspection, NotStarted
from services.worker.sandbox import MARK, Job, Sandbox

_NOTE = "process.json"
_OUT = "out"


class Note(Wire):
    """Which process a replica's launcher is."""

    replica: UUID
    host_id: str
    """Process numbers mean something there only."""
    pid: int
    started: int
    uid: int | None


@dataclass(frozen=True)
class _Known:
    """A sandbox that this manager started or found by its note."""

    folder: Path
    uid: int | None
    process: Process | None
    """None for one that had ended when it was found."""

    @property
    def inspection(self) -> Inspection:
        if self.process is None:
            return Inspection(Exit())
        return Inspection() if self.process.running else Inspection(Exit(self.process.ended.result()))


class ProcessManager:
    """See ContainerManager."""

    kind = "process"

    def __init__(self, sandbox: Sandbox, run: Path, *, mark: str, devices: Path = Path("/dev")) -> None:
        """
        Args:
            run: where the folders of replicas are.
            mark: begins the name of every sandbox of this worker.
            devices: where the device nodes of GPUs are.
        """
        self.own_users = sandbox.confinement.own_users
        self.private_tmp = sandbox.confinement.private_tmp
        self.cannot_isolate = (
            None if sandbox.confinement.isolated_network else f"its sandbox is '{sandbox.confinement.mode}'"
        )
        self._sandbox = sandbox
        self._run = run
        self._mark = mark
        self._devices = devices
        self._known: dict[UUID, _Known] = {}

    def inner_host(self, host: str, *, isolated: bool) -> str:
        return "127.0.0.1" if isolated else host

    def shares_network(self, *, isolated: bool) -> bool:
        return not isolated

    async def ensure(self, container: Container) -> None:
        if container.replica in self._known:
            return
        variables = gpus.variables(container.gpus, others_hidden=self._sandbox.confinement.private_devices)
        job = Job(
            name=self._name(container.replica),
            command=container.command,
            cwd=container.cwd,
            folder=container.folder,
            environment={**container.environment, **variables},
            readable=container.readable,
            writable=container.writable,
            uid=container.uid,
            limits=container.limits,
            devices=gpus.nodes(self._devices, container.gpus),
            isolated=container.isolated,
            entrance=container.listening if container.isolated else None,
        )

        def record(process: Process) -> None:
            note = Note(
                replica=container.replica,
                host_id=host_id(),
                pid=process.pid,
                started=process.started,
                uid=container.uid,
            )
            write_private(container.folder / _NOTE, note.model_dump_json())

        try:
            out = os.open(container.folder / _OUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                process = self._sandbox.start(job, out, record=record)
            finally:
                os.close(out)
        except (OSError, ProcessGone) as error:
            raise NotStarted(str(error)) from error
        self._known[container.replica] = _Known(container.folder, container.uid, process)

    async def list(self) -> Mapping[UUID, Inspection]:
        for folder, note in await asyncio.to_thread(self._notes):
            if note.replica not in self._known:
                self._known[note.replica] = _Known(folder, note.uid, _process(note))
        found = {replica: known.inspection for replica, known in self._known.items()}
        strays = await asyncio.to_thread(self._marked)
        return {**dict.fromkeys(strays, Inspection()), **found}

    async def inspect(self, replica: UUID) -> Inspection | None:
        known = self._known.get(replica)
        return (await self.list()).get(replica) if known is None else known.inspection

    async def wait(self, replica: UUID) -> Exit:
        known = self._known.get(replica)
        return Exit() if known is None or known.process is None else Exit(await known.process.wait())

    async def stop(self, replica: UUID, *, patience: float = 3.0) -> None:
        known = self._known.get(replica)
        if known is None or known.process is None:
            await self._sandbox.sweep(self._name(replica), None if known is None else known.uid)
        else:
            await self._sandbox.end(known.process, self._name(replica), known.uid, patience=patience)
        if known is not None:
            (known.folder / _NOTE).unlink(missing_ok=True)
            self._known.pop(replica, None)

    async def logs(self, replica: UUID, limit: int) -> bytes:
        known = self._known.get(replica)
        return b"" if known is None else await asyncio.to_thread(tail, known.folder / _OUT, limit)

    async def close(self) -> None:
        for known in self._known.values():
            if known.process is not None:
                known.process.let_go()
        self._known.clear()

    def _name(self, replica: UUID) -> str:
        return f"{self._mark}-{replica}"

    def _notes(self) -> Sequence[tuple[Path, Note]]:
        found = []
        for path in self._run.glob(f"*/{_NOTE}"):
            with contextlib.suppress(OSError, ValidationError):
                found.append((path.parent, Note.model_validate_json(path.read_bytes())))
        return found

    def _marked(self) -> set[UUID]:
        """Replicas of which any process runs."""
        found = set()
        for name in marked(MARK).values():
            mark, _, replica = name.partition("-")
            with contextlib.suppress(ValueError):  # the name of a step
                if mark == self._mark:
                    found.add(UUID(replica))
        return found


def _process(note: Note) -> Process | None:
    with contextlib.suppress(ProcessGone):
        if note.host_id == host_id():
            return Process(note.pid, note.started)
    return None
