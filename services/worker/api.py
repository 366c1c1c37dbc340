"""The worker's own routes, for other services of the platform."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from libs.common.auth import service_only
from libs.common.problems import NotFound
from libs.common.web import router
from services.worker.replicas import Replicas

MAX_TAIL_BYTES = 1 << 20

routes = router(service_only)


@routes.get("/internal/replicas/{replica_id}/log")
async def replica_log(
    request: Request, replica_id: UUID, tail: Annotated[int, Query(ge=1, le=MAX_TAIL_BYTES)] = 64 * 1024
) -> Response:
    """The last `tail` bytes of a replica's log, as text. Raises NotFound for one that left none here."""
    replicas: Replicas = request.app.state.replicas
    content = await replicas.log_tail(replica_id, tail)
    if content is None:
        raise NotFound(f"this worker has no log of replica {replica_id}")
    return Response(content.decode(errors="replace"), media_type="text/plain")
