"""The way to containers without a network for calls of other hosts: a confined process beside each, which listens on
this machine and carries connections to the container's socket, where the runner asks for the replica's token.

It does not end with the worker; the one that comes after finds it as it finds replicas that are processes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from services.worker.launcher import forwarder
from services.worker.runtimes.processes import ProcessManager
from services.worker.runtimes.protocol import Container, Exit
from services.worker.sandbox import Limits

_PROGRAM = Path(forwarder.__file__).resolve()
_WORDS_BYTES = 500


class Entrances:
    """One for each container that needs one."""

    def __init__(self, processes: ProcessManager, python: Path) -> None:
        """
        Args:
            processes: manages nothing else.
            python: runs the forwarder.
        """
        self._processes = processes
        self._python = python

    async def open(self, container: Container) -> None:
        """See that the container's runs, if it is to have one. Raises NotStarted."""
        if container.listening is None or container.entrance is None:
            return
        host, port = container.listening
        command = [str(self._python), "-I", "-S", str(_PROGRAM), host, str(port), str(container.entrance)]
        process = Container(
            replica=container.replica,
            command=command,
            cwd=Path("/"),
            folder=container.folder,
            environment={},
            readable=[_PROGRAM],
            writable=container.writable,
            uid=container.uid,
            limits=Limits(open_files=container.limits.open_files),
        )
        await self._processes.ensure(process)

    async def failure(self, replica: UUID) -> Exit | None:
        """Why the replica's has ended; None while it runs, and for a replica that has none."""
        inspection = await self._processes.inspect(replica)
        return None if inspection is None or inspection.running else await self._ended(replica)

    async def wait(self, replica: UUID) -> Exit:
        """Wait until the replica's has ended, for ever where there is none. Cancelling the wait changes nothing."""
        if await self._processes.inspect(replica) is None:
            await asyncio.Event().wait()
        await self._processes.wait(replica)
        return await self._ended(replica)

    async def close(self, replica: UUID) -> None:
        """End the replica's, if there is one. Raises TimeoutError."""
        if await self._processes.inspect(replica) is not None:
            await self._processes.stop(replica)

    async def list(self) -> set[UUID]:
        """The replicas that have one."""
        return set(await self._processes.list())

    async def let_go(self) -> None:
        """Forget all of them. What runs goes on."""
        await self._processes.close()

    async def _ended(self, replica: UUID) -> Exit:
        said = (await self._processes.logs(replica, _WORDS_BYTES)).decode(errors="replace").splitlines()
        return Exit(reason=": ".join(["what carries calls of other hosts to it has ended", *said[-1:]]))
