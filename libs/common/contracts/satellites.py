"""A satellite apart from the platform: what it is, and what it tells the platform of itself.

Where a launch runs on its own (a namespace of a cluster, a bundle that somebody carried away), its gateways follow no
feeds. A :class:`SatellitePlan` takes their place: the feeds `identity` and `catalog` cut down to what the launch runs
and who may call it. Whatever decides about a call on the platform decides in the same way there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.events import CallRecord
from libs.common.contracts.identity import Wire
from libs.common.contracts.launches import EntryStatus, KeySet, LaunchOrder

REPORTER_PREFIX = "satellite."
"""Identifiers of the apps as which satellites report (`reporter`), each for one launch."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""A clock that was never set says less."""
MAX_REPORTS = 100
MAX_ENTRIES = 1000
MAX_RECORDS = 1000
MOST = 10**12
"""Of whatever is counted in one report."""


def reporter(launch_id: UUID) -> str:
    """The identifier with which the gateways of a launch log in at the platform, to report. A mandate names it."""
    return f"{REPORTER_PREFIX}{launch_id}"


def reported(identifier: str) -> UUID | None:
    """The launch of a reporter's identifier; None for any other identifier."""
    try:
        launch_id = UUID(identifier.removeprefix(REPORTER_PREFIX))
    except ValueError:
        return None
    return launch_id if identifier == reporter(launch_id) else None


class SatellitePlan(Wire):
    """One order of a launch with all that is needed to serve it. The same order gives the same plan."""

    format: Literal[1] = 1
    order: LaunchOrder
    keys: KeySet
    """The accepted keys, by their hashes. No key can be made of it."""
    identity: Mapping[str, dict[str, Any]] = {}
    """Entries of the feed `identity`: the accepted keys and the accounts that they act for."""
    catalog: tuple[CatalogEntry, ...] = ()
    """The algorithms, each with the revisions that the order names."""
    images: Mapping[str, str] = {}
    """Digest (`sha256:...`) of the image manifest of each revision, by revision id."""
    gateway_image: str | None = None
    """Digest of the manifest of the image that gateways of a satellite run in."""
    mothership: str | None = None
    """URL of the platform that made it, for reports."""


class EntryUsage(Wire):
    """What was called of one entry since the report before."""

    vanity_url: str = Field(max_length=81)
    calls: int = Field(default=0, ge=0, le=MOST)
    errors: int = Field(default=0, ge=0, le=MOST)
    seconds: float = Field(default=0.0, ge=0, le=MOST)
    """From each call's arrival to its end, in sum."""


class SatelliteReport(Wire):
    """What one gateway of a satellite saw since its report before. Kept where it was made until the platform took it.

    `launch_id`, `instance`, `run` and `sequence` name it: one that arrives twice counts once.
    """

    launch_id: UUID
    deployment_id: UUID
    satellite_version: int = Field(ge=0, lt=1 << 31)
    instance: str = Field(max_length=64)
    """Names the gateway, over restarts where it can."""
    run: str = Field(max_length=64)
    """Names this run of it."""
    sequence: int = Field(ge=1, le=MOST)
    at: AwareDatetime = Field(ge=EARLIEST)
    """When it was closed. All that it counts was within the hour before, by the clock: `at` says in which."""
    version: str = Field(default="", max_length=64)
    """Of Constellation there."""
    entries: tuple[EntryStatus, ...] = Field(default=(), max_length=MAX_ENTRIES)
    """Desired and running, at that moment."""
    usage: tuple[EntryUsage, ...] = Field(default=(), max_length=MAX_ENTRIES)
    records: tuple[CallRecord, ...] = Field(default=(), max_length=MAX_RECORDS)
    """Calls since then, as the platform's own gateways record them."""
    dropped: int = Field(default=0, ge=0, le=MOST)
    """Records that were lost for want of room since then."""


class SatelliteReports(Wire):
    """`POST /admin/v1/launches/{id}/reports`: of one run of one gateway, oldest first."""

    reports: tuple[SatelliteReport, ...] = Field(min_length=1, max_length=MAX_REPORTS)


class ReportsTaken(Wire):
    """The answer: all up to here, of this instance and run, were taken and need not be sent again."""

    run: str
    sequence: int
