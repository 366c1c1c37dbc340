"""Satellites, their versions and launches as administrators get to see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from libs.common.contracts.launches import LaunchEntry, LaunchStatus
from services.registry.models import Launch, Order, Satellite, SatelliteVersion
from services.registry.views import timestamp

Statuses = Mapping[UUID, LaunchStatus] | None
"""What deployers say of launches, by id; None when none of them answered."""


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
        "command": f"constellation launch deploy {row.id}",
    }


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


def running(launch_id: UUID, statuses: Statuses) -> dict[str, Any] | None:
    status = (statuses or {}).get(launch_id)
    return status.model_dump(mode="json") if status is not None else None


def _entry(stored: Mapping[str, Any]) -> dict[str, Any]:
    entry = LaunchEntry.model_validate(stored)
    return {"algorithm": entry.algorithm, "vanity_url": entry.vanity_url, "replicas": entry.replicas}
