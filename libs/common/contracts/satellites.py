"""A satellite apart from the platform: what it is, and what it tells the platform of itself.

Where a launch runs on its own (a namespace of a cluster, a bundle that somebody carried away), its gateways follow no
feeds. A :class:`SatellitePlan` takes their place: the feeds `identity` and `catalog` cut down to what the launch runs
and who may call it. Whatever decides about a call on the platform decides in the same way there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from libs.common.contracts.catalog import CatalogEntry
from libs.common.contracts.events import CallRecord
from libs.common.contracts.identity import Wire
from libs.common.contracts.launches import EntryStatus, KeySet, LaunchOrder


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

    vanity_url: str
    calls: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    """That its algorithm ran, in sum."""


class SatelliteReport(Wire):
    """What one gateway of a satellite saw since its report before. Kept where it was made until the platform took it.

    `launch_id`, `instance`, `run` and `sequence` name it: one that arrives twice counts once.
    """

    launch_id: UUID
    deployment_id: UUID
    satellite_version: int
    instance: str = Field(max_length=64)
    """Names the gateway, over restarts where it can."""
    run: str = Field(max_length=64)
    """Names this run of it."""
    sequence: int = Field(ge=1)
    at: AwareDatetime
    version: str = Field(default="", max_length=64)
    """Of Constellation there."""
    entries: tuple[EntryStatus, ...] = ()
    """Desired and running, at that moment."""
    usage: tuple[EntryUsage, ...] = ()
    records: tuple[CallRecord, ...] = ()
    """Calls since then, as the platform's own gateways record them."""
    dropped: int = Field(default=0, ge=0)
    """Records that were lost for want of room since then."""


class SatelliteReports(Wire):
    """`POST /admin/v1/launches/{id}/reports`, oldest first, at most 100."""

    reports: tuple[SatelliteReport, ...] = Field(max_length=100)


class ReportsTaken(Wire):
    """The answer: all up to here, of this instance and run, need not be sent again."""

    run: str
    sequence: int
