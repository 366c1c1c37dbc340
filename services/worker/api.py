"""The worker's own routes, for other services of the platform."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request

from libs.common.auth import service_only
from libs.common.contracts.replicas import ReplicaLog
from libs.common.problems import NotFound
from libs.common.web import router
from services.worker.replicas import Replicas

PART_BYTES = 1 << 18

routes = router(service_only)


@routes.get("/internal/replicas/{replica_id}/log")
async def replica_log(
    request: Request, replica_id: UUID, offset: Annotated[int, Query(ge=0, lt=1 << 62)] = 0
) -> ReplicaLog:
    """A part of a replica's log from `offset` on. Raises NotFound for one that left none here."""
    replicas: Replicas = request.app.state.replicas
    found = await replicas.log(replica_id, offset, PART_BYTES)
    if found is None:
        raise NotFound(f"this worker has no log of replica {replica_id}")
    part, ended = found
    return ReplicaLog(
        replica_id=replica_id, offset=part.offset, next_offset=part.next_offset, text=part.text, ended=ended
    )
