"""Asking the deployer: demand of gateways, reports of workers."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from libs.common.clients.base import ServiceClient
from libs.common.contracts.launches import MAX_ASKED, LaunchStatus
from libs.common.contracts.replicas import DemandReport, WorkerOrders, WorkerReport


class DeployerClient(ServiceClient):
    service = "deployer"

    async def report_demand(self, report: DemandReport) -> None:
        """Say which revisions are called. Idempotent: the newest report counts."""
        await self._ask("POST", "/internal/demand", json=report.model_dump(mode="json"), timeout=5.0)

    async def launches(self, ids: Collection[UUID]) -> dict[UUID, LaunchStatus]:
        """How launches are doing, however many; those of which no order has arrived are left out."""
        found: dict[UUID, LaunchStatus] = {}
        asked = [str(one) for one in ids]
        for first in range(0, len(asked), MAX_ASKED):
            body = {"ids": asked[first : first + MAX_ASKED]}
            answer = await self._ask("POST", "/internal/launches", json=body, timeout=3.0)
            statuses = [LaunchStatus.model_validate(one) for one in answer.json()["launches"]]
            found |= {status.launch_id: status for status in statuses}
        return found

    async def report_worker(self, worker_id: str, report: WorkerReport) -> WorkerOrders:
        """Say what runs on a node; the answer says what should."""
        answer = await self._ask(
            "POST", f"/internal/workers/{worker_id}/report", json=report.model_dump(mode="json"), timeout=5.0
        )
        return WorkerOrders.model_validate_json(answer.content)
