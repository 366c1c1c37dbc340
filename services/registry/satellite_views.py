"""Satellites, their versions and launches as administrators get to see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.contracts.launches import BundleTarget, EntryStatus, LaunchEntry, OrderAction
from services.registry.launch_statuses import Statuses
from services.registry.models import Launch, Order, Satellite, SatelliteRun, SatelliteVersion
from services.registry.reports import Usage
from services.registry.views import timestamp


def satellite(row: Satellite, version: SatelliteVersion) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "version": row.version,
        "algorithms": [_entry(one) for one in version.entries],
        "accepted_keys": version.keys,
        "created_at": timestamp(row.created_at),
        "created_by": row.created_by,
        "updated_at": timestamp(row.updated_at),
    }


def satellite_version(row: SatelliteVersion, accepted: int | None = None) -> dict[str, Any]:
    document = {
        "version": row.number,
        "algorithms": [_entry(one) for one in row.entries],
        "accepted_keys": row.keys,
        "created_at": timestamp(row.created_at),
        "created_by": row.created_by,
    }
    if accepted is not None:
        document["accepted_keys_count"] = accepted
    return document


def launch(row: Launch, satellite: str, order: Order | None, statuses: Statuses) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "satellite_id": str(row.satellite_id),
        "satellite": satellite,
        "satellite_version": row.satellite_version,
        "name": row.name,
        "description": row.description,
        "target": row.target,
        "created_at": timestamp(row.created_at),
        "created_by": row.created_by,
        "updated_at": timestamp(row.updated_at),
        "desired": order_document(order) if order is not None else None,
        "running": running(row.id, statuses),
        "running_known": statuses is not None,
        "address": f"/launches/{row.id}/v1/algo/",
        "command": _command(row),
    }


def _command(row: Launch) -> str:
    """That brings what is configured to run."""
    if row.target["kind"] == BundleTarget().kind:
        return f"constellation satellite {row.satellite_id} {row.id} get"
    return f"constellation launch deploy {row.id}"


def order_document(row: Order) -> dict[str, Any]:
    return {
        "deployment_id": str(row.deployment_id),
        "number": row.number,
        "action": row.action.value,
        "satellite_version": row.satellite_version,
        "paused": row.paused,
        "promoted_from": str(row.promoted_from) if row.promoted_from is not None else None,
        "by": row.by,
        "at": timestamp(row.at),
    }


def deployment(order: Order) -> dict[str, Any]:
    """The deployment that an order asks for, before a deployer has said anything of it."""
    return {
        "id": str(order.deployment_id),
        "launch_id": str(order.launch_id),
        "state": "stopping" if order.action == "stop" else "deploying",
        **order_document(order),
    }


def still_running(rows: Iterable[tuple[Launch, Order]], statuses: Statuses) -> list[dict[str, Any]]:
    """What runs, or is to, of the launches whose configuration was just changed."""
    return [
        {
            "launch_id": str(launch.id),
            "name": launch.name,
            "satellite_version": order.satellite_version,
            "removed": launch.removed_at is not None,
            "running": running(launch.id, statuses),
        }
        for launch, order in rows
    ]


def wanted_version(launch: Launch, newest: Order | None) -> int | None:
    """The version that a launch should run: that of its newest order. Nobody orders a bundle; there it is the
    configured one."""
    if newest is None or launch.target["kind"] == BundleTarget().kind:
        return launch.satellite_version
    return newest.satellite_version if newest.action is OrderAction.DEPLOY else None


def gateway(row: SatelliteRun, *, stale: bool, wanted: int | None) -> dict[str, Any]:
    """A gateway of a launch apart from the platform, as it last reported.

    Args:
        wanted: the version that the launch should run.
    """
    entries = [EntryStatus.model_validate(one) for one in row.entries]
    return {
        "instance": row.instance,
        "run": row.run,
        "satellite_version": row.satellite_version,
        "deployment_id": str(row.deployment_id),
        "up_to_date": row.satellite_version == wanted,
        "constellation": row.version,
        "desired": sum(one.desired for one in entries),
        "ready": sum(one.ready for one in entries),
        "entries": row.entries,
        "records_dropped": row.dropped,
        "last_heard": timestamp(row.heard_at),
        "reported_at": timestamp(row.reported_at),
        "stale": stale,
    }


def usage(launch_id: UUID, since: datetime, by: str, found: Iterable[Usage]) -> dict[str, Any]:
    """What was called, entry by entry in sum, and in its course."""
    sums: dict[str, dict[str, Any]] = {}
    course = []
    for one in found:
        counts = {"calls": one.calls, "errors": one.errors, "seconds": round(one.seconds, 6)}
        course.append({"vanity_url": one.vanity_url, by: timestamp(one.since), **counts})
        total = sums.setdefault(
            one.vanity_url, {"vanity_url": one.vanity_url, "calls": 0, "errors": 0, "seconds": 0.0}
        )
        for name, value in counts.items():
            total[name] = round(total[name] + value, 6)
    return {
        "launch_id": str(launch_id),
        "since": timestamp(since),
        "by": by,
        "entries": [sums[name] for name in sorted(sums)],
        "course": course,
    }


def running(launch_id: UUID, statuses: Statuses) -> dict[str, Any] | None:
    status = (statuses or {}).get(launch_id)
    return status.model_dump(mode="json") if status is not None else None


def _entry(stored: Mapping[str, Any]) -> dict[str, Any]:
    entry = LaunchEntry.model_validate(stored)
    return {"algorithm": entry.algorithm, "vanity_url": entry.vanity_url, "replicas": entry.replicas}
