"""What a worker asks of whatever runs its replicas. A container is what one replica runs in: a sandbox of processes,
or a Docker container.

Whoever manages containers finds them by marks that they carry, so that a worker that comes back needs no memory of
what it started. Every act may be repeated: starting what runs, and ending what is gone, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from services.worker.sandbox import Limits


class RuntimeUnavailable(RuntimeError):
    """The runtime that the settings ask for does not work here; the text says what to do."""


class NotStarted(Exception):
    """A container could not be started, with the reason in words that callers and operators read."""


@dataclass(frozen=True)
class Container:
    """What to run one replica in. All paths are absolute, free of links, and the same inside as outside."""

    replica: UUID
    command: Sequence[str]
    cwd: Path
    folder: Path
    """The replica's own folder, with a folder `tmp` and a file `out`, where a manager may keep what it prints."""
    environment: Mapping[str, str]
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    uid: int | None = None
    """User to run as, of a worker that has users to give."""
    limits: Limits = field(default_factory=Limits)
    cpus: float | None = None
    """Processors that it may use, where a manager can hold it to that; None for as many as others may."""
    gpus: Sequence[int] = ()
    """The machine's GPUs that it sees, and no other ones."""
    isolated: bool = False
    """No network but its own loopback."""
    listening: tuple[str, int] | None = None
    """Host and port of this machine under which it is to be reached. Inside it listens on that port of
    `inner_host`."""


@dataclass(frozen=True)
class Exit:
    """How a container ended."""

    status: int | None = None
    """Its exit status, where it is known; -N or 128 + N after signal N."""
    reason: str | None = None
    """What else is known of the cause, such as that memory ran out."""

    @property
    def words(self) -> str:
        ended = "the replica's process ended" + ("" if self.status is None else f" with status {self.status}")
        return ended if self.reason is None else f"{ended}: {self.reason}"


@dataclass(frozen=True)
class Inspection:
    """A container at this moment: it runs while `exit` is None."""

    exit: Exit | None = None

    @property
    def running(self) -> bool:
        return self.exit is None


class ContainerManager(Protocol):
    """All containers of one worker, by replica."""

    kind: str
    """The word for it in settings and reports."""
    own_users: bool
    """Each container runs as a user of its own, which the worker gives it."""
    private_tmp: bool
    """The folder for temporary files belongs to one container alone."""
    cannot_isolate: str | None
    """Why it cannot take away the network; None when it can."""

    def inner_host(self, host: str, *, isolated: bool) -> str:
        """Address on which a container listens that others reach under `host`, an address of this machine."""

    def shares_network(self, *, isolated: bool) -> bool:
        """Its loopback is this machine's."""

    async def ensure(self, container: Container) -> None:
        """See that it runs: start it, unless it was started before. Raises NotStarted."""

    async def list(self) -> Mapping[UUID, Inspection]:
        """All that carry this worker's mark, also those that it does not know of, and those that have ended and
        were not stopped yet."""

    async def inspect(self, replica: UUID) -> Inspection | None:
        """One of them; None for what is not there."""

    async def wait(self, replica: UUID) -> Exit:
        """Wait for its end. Cancelling the wait changes nothing for it."""

    async def stop(self, replica: UUID, *, patience: float = 3.0) -> None:
        """End it and everything in it, by force after `patience` seconds, and see that nothing of it is left.

        Raises TimeoutError for what cannot be ended.
        """

    async def logs(self, replica: UUID, limit: int) -> bytes:
        """The last `limit` bytes of what its first process printed, apart from what the runner logs. Empty when
        there is nothing, or it was stopped."""

    async def close(self) -> None:
        """Forget all of them. What runs goes on."""
