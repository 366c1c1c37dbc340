"""Applications as administrators get to see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from libs.common.contracts.applications import reference
from libs.common.contracts.launches import LaunchStatus
from services.registry.launch_statuses import Statuses
from services.registry.models import Application, LinkedVersion
from services.registry.views import timestamp


def application(row: Application, versions: Iterable[LinkedVersion]) -> dict[str, Any]:
    """What is configured."""
    known = list(versions)
    names = {one.id: one.version for one in known}
    return {
        "id": str(row.id),
        "name": row.name,
        "description": row.description,
        "address": f"/v1/algo/{reference(row.name)}",
        "default_answer": row.default_answer,
        "latency_goal_ms": row.latency_goal_ms,
        "current": names[row.current] if row.current is not None else None,
        "switching_to": names[row.switching_to] if row.switching_to is not None else None,
        "versions": [_version(row, one) for one in known],
        "created_at": timestamp(row.created_at),
        "created_by": row.created_by,
        "updated_at": timestamp(row.updated_at),
    }


def inspected(row: Application, versions: Iterable[LinkedVersion], statuses: Statuses) -> dict[str, Any]:
    """The same with what runs, as deployers say."""
    known = list(versions)
    document = application(row, known)
    for one, version in zip(document["versions"], known, strict=True):
        one["running"] = _running((statuses or {}).get(version.id))
    return document | {"running_known": statuses is not None}


def _version(row: Application, one: LinkedVersion) -> dict[str, Any]:
    return {
        "algorithm": one.version,
        "is_current": one.id == row.current,
        "state": one.state.value,
        "replicas": one.replicas,
        "deployment_id": str(one.deployment_id),
        "linked_at": timestamp(one.linked_at),
        "linked_by": one.linked_by,
    }


def _running(status: LaunchStatus | None) -> dict[str, Any] | None:
    """Replicas of a version. Its deployment lists each of them."""
    if status is None:
        return None
    reasons = [one.reason for one in status.entries if one.reason]
    return {
        "state": status.state.value,
        "desired": status.desired,
        "ready": status.ready,
        "starting": sum(one.starting for one in status.entries),
        "draining": sum(one.draining for one in status.entries),
        "reason": status.reason or next(iter(reasons), None),
    }
