"""Views for the planner, with everything that a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from libs.common.contracts.catalog import Language
from libs.common.contracts.replicas import ReplicaState
from services.deployer.view import DeploymentView, ReplicaView, Room, View, Wish, WorkerView

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=15)
MODEST = Room(slots=1, memory_mib=100)
OLD = NOW - timedelta(minutes=10)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def key(number: int) -> UUID:
    return UUID(int=number)


def wish(**members: Any) -> Wish:
    return Wish(
        **{
            "language": Language.PYTHON,
            "room": MODEST,
            "concurrency": 1,
            "min_replicas": 0,
            "max_replicas": 4,
            "idle_seconds": 300.0,
            **members,
        }
    )


def worker(name: str, *, alive: bool = True, **members: Any) -> WorkerView:
    return WorkerView(
        **{
            "id": name,
            "lease_until": NOW + LEASE if alive else ago(1),
            "draining": False,
            "languages": frozenset({Language.PYTHON}),
            "capacity": Room(slots=10, memory_mib=1000),
            **members,
        }
    )


def replica(number: int, on: str = "a", state: ReplicaState = ReplicaState.READY, **members: Any) -> ReplicaView:
    return ReplicaView(
        **{
            "id": key(number),
            "worker_id": on,
            "state": state,
            "draining": state is ReplicaState.DRAINING,
            "current": True,
            "room": MODEST,
            "created_at": OLD + timedelta(seconds=number),
            "since": ago(5),
            **members,
        }
    )


def deployment(number: int = 1000, **members: Any) -> DeploymentView:
    return DeploymentView(**{"id": key(number), "wish": wish(), **members})


def view(*deployments: DeploymentView, workers: tuple[WorkerView, ...] | None = None, **members: Any) -> View:
    return View(
        **{
            "now": NOW,
            "watching_since": OLD,
            "lease": LEASE,
            "workers": (worker("a"), worker("b")) if workers is None else workers,
            "deployments": deployments,
            **members,
        }
    )
