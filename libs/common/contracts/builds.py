"""Builds: states, what a worker is asked to build, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.identity import Wire


class BuildState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


BUILD_TRANSITIONS: Mapping[BuildState, frozenset[BuildState]] = {
    BuildState.QUEUED: frozenset({BuildState.RUNNING, BuildState.FAILED}),
    BuildState.RUNNING: frozenset({BuildState.QUEUED, BuildState.SUCCEEDED, BuildState.FAILED}),
    BuildState.SUCCEEDED: frozenset(),
    BuildState.FAILED: frozenset(),
}
"""RUNNING goes back to QUEUED when the worker that had it is lost."""


class BuildSpec(Wire):
    """Answer of `POST /internal/builds/{id}/claim` (409 when another worker has it or it is finished)."""

    id: UUID
    algorithm_id: UUID
    owner: str
    name: str
    commit: str
    language: Language
    source: str
    """Digest of the tar archive to build, a blob of the registry."""
    lease_token: str
    """Sent with every further word on this build; a stale one is refused with 409."""
    lease_seconds: float
    timeout_seconds: float = 1800.0
    memory_mib: int = 4096


class BuildLog(Wire):
    """`POST /internal/builds/{id}/log`: text at an offset, so that a repeated post adds nothing. Renews the lease."""

    lease_token: str
    offset: int = Field(ge=0)
    """Characters of log sent before this."""
    text: str = Field(max_length=1_000_000)


class BuildResult(Wire):
    """`POST /internal/builds/{id}/result`."""

    lease_token: str
    succeeded: bool
    artifact: Artifact | None = None
    reason: str | None = None
    """For people: why it failed, in a sentence."""
