"""What exists: the catalog feed that the registry publishes, one entry per algorithm, keyed by its id.

The gateway resolves references against it and the deployer takes from it what a replica is made of, so
neither asks the registry on the way of a call.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, Field

from libs.common.contracts.identity import Wire

CATALOG_FEED = "catalog"


class Callability(StrEnum):
    PRIVATE = "private"
    PUBLIC = "public"


class NetworkAccess(StrEnum):
    FULL = "full"
    ISOLATED = "isolated"


class Language(StrEnum):
    """The languages that workers build here, by their published names."""

    PYTHON = "python3"
    JAVASCRIPT = "javascript"
    PIPE = "pipe"
    """Any language: the repository brings an executable `bin/pipe` that speaks the pipe protocol."""


class Scaling(Wire):
    """How many replicas an algorithm has when it is called on demand."""

    min_replicas: int = Field(default=0, ge=0, le=1000)
    max_replicas: int = Field(default=4, ge=1, le=1000)
    idle_seconds: float = Field(default=300.0, ge=1, le=86_400)
    concurrency: int = Field(default=1, ge=1, le=64)
    """Calls that one replica runs at once."""
    memory_mib: int = Field(default=2048, ge=64, le=1_048_576)
    """Memory that one replica may use, in MiB."""
    cpus: float = Field(default=0.0, ge=0, le=1024)
    """Processors that are kept for one replica where it runs; 0 keeps none."""
    gpus: int = Field(default=0, ge=0, le=64)
    """GPUs that one replica has for itself."""


class Artifact(Wire):
    """What a successful build left: everything a worker needs to make a replica again.

    Digests are SHA-256 in hex and name blobs that the registry serves.
    """

    source: str
    """Digest of the tar archive of the commit's tree."""
    lock: str | None = None
    """Digest of the lock of its dependencies (pip requirements with hashes; npm's package-lock.json)."""
    digest: str
    """Digest over source, lock and language: names the unpacked tree and environment on a worker."""


class Revision(Wire):
    """One successfully built commit."""

    id: UUID
    commit: str = Field(pattern="^[0-9a-f]{40}$")
    version: str | None = None
    """`MAJOR.MINOR.REVISION` once published."""
    callability: Callability = Callability.PRIVATE
    language: Language
    artifact: Artifact
    built_at: AwareDatetime


class CatalogEntry(Wire):
    id: UUID
    owner: str
    name: str
    network_access: NetworkAccess = NetworkAccess.FULL
    pipeline_enabled: bool = True
    scaling: Scaling = Scaling()
    secrets_version: int = 0
    """Rises when a secret changes; 0 while there never was one. Replicas of an older one are replaced."""
    revisions: tuple[Revision, ...] = ()
    """Oldest build first."""
