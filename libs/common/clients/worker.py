"""Asking one worker: what only it knows of its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import httpx

from libs.common.clients.base import ServiceClient
from libs.common.contracts.replicas import ReplicaLog
from libs.common.join import Membership


class WorkerClient(ServiceClient):
    """Of a worker whose lease has lapsed no address is known: it is unavailable."""

    service = "worker"

    def __init__(self, http: httpx.AsyncClient, member: Membership, worker_id: str) -> None:
        super().__init__(http, member)
        self._worker_id = worker_id

    async def replica_log(self, replica_id: UUID, offset: int) -> ReplicaLog:
        """A part of a log. Raises problems.NotFound when the worker has none of that replica."""
        answer = await self._ask("GET", f"/internal/replicas/{replica_id}/log", params={"offset": offset})
        return ReplicaLog.model_validate_json(answer.content)

    def _urls(self) -> Sequence[str]:
        instances = self._member.instances.get(self.service, ())
        return [alias.url for one in instances if one.identifier == self._worker_id for alias in one.aliases]
