"""Applications: names that callers use, behind which administrators switch versions of algorithms.

The feed `applications` is the registry's word, followed by gateways: what answers for each application now, and what
its callers get instead when that does not. Keys: ``application:<name>`` holds an :class:`Application`.

Each linked version has a fixed number of replicas. They are ordered as those of a launch are, by an order in the feed
`launches` that answers to no address of its own; the launch's id is that of the link.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from libs.common.contracts.identity import Wire

APPLICATIONS_FEED = "applications"
APPLICATION_PREFIX = "application:"
ADDRESS = "applications"
"""First word of every application's reference: `POST /v1/algo/applications/NAME`."""
MAX_LATENCY_GOAL_MS = 300_000


class CurrentVersion(Wire):
    """The linked version that answers."""

    owner: str
    name: str
    commit: str
    algorithm_id: UUID
    revision_id: UUID
    route: UUID
    """Key of its replicas in the feed `routes`."""


class Application(Wire):
    name: str
    default_answer: Any = None
    """What callers get when the current version does not answer as it should: any JSON value; null for none."""
    latency_goal_ms: int | None = Field(default=None, ge=1, le=MAX_LATENCY_GOAL_MS)
    current: CurrentVersion | None = None
    """Null while no version is linked."""


def reference(name: str) -> str:
    """What stands behind ``/v1/algo/`` when the application is called."""
    return f"{ADDRESS}/{name}"
