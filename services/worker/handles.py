"""What a worker notes about a replica that runs, so that the worker that comes after it finds it again."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from libs.common.contracts.identity import Wire
from libs.common.contracts.replicas import Address, ReplicaSpec, ReplicaState
from services.worker.files import write_private

_FILE = "handle.json"


class Handle(Wire):
    """In the replica's folder, readable by the worker only. Written before the replica's container begins, which
    its manager finds by itself (see runtimes/protocol.py)."""

    version: int = 2
    spec: ReplicaSpec
    uid: int | None
    gpus: tuple[int, ...] = ()
    state: ReplicaState
    since: AwareDatetime
    address: Address
    tree: Path
    environment: Path | None

    def write(self, folder: Path) -> None:
        write_private(folder / _FILE, self.model_dump_json())


def read(folder: Path) -> Handle | None:
    """The handle in a replica's folder; None for a folder whose replica never began."""
    try:
        return Handle.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
