"""Keeps the deployer informed and does what it says: one report of everything, answered by all orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.common import logs, problems
from libs.common.clients.deployer import DeployerClient
from libs.common.contracts.jobs import OrdersChanged
from libs.common.contracts.replicas import WorkerReport
from libs.common.loops import Loop
from services.worker import metrics
from services.worker.replicas import Replicas

log = logs.get(__name__)

_RETRY_SECONDS = 1.0


class Agent:
    """Reports on each change here, on each hint from the deployer, and in time to keep the worker's lease.

    A deployer that does not answer changes nothing: what runs goes on, and the next report is tried soon.
    """

    def __init__(
        self,
        deployer: DeployerClient,
        worker_id: str,
        describe: Callable[[], WorkerReport],
        *,
        report_seconds: float,
    ) -> None:
        """
        Args:
            describe: gives the report, of this moment.
        """
        self._deployer = deployer
        self._worker_id = worker_id
        self._describe = describe
        self._report_seconds = report_seconds
        self._replicas: Replicas | None = None
        self._heard = True
        self.loop = Loop("worker_report", self.once, every=report_seconds)

    def obey(self, replicas: Replicas | None) -> None:
        """Obey orders about these replicas from now on; None only reports."""
        self._replicas = replicas

    def changed(self) -> None:
        """Something here changed."""
        self.loop.wake()

    async def orders_changed(self, _: OrdersChanged) -> None:
        """The deployer says that there are new orders."""
        self.loop.wake()

    async def once(self) -> None:
        """Report, and obey."""
        try:
            orders = await self._deployer.report_worker(self._worker_id, self._describe())
        except problems.Problem as error:
            metrics.REPORTS.labels("failed").inc()
            if self._heard:
                log.warning("deployer_not_reached", reason=error.detail, consequence="replicas go on as they are")
            self._heard = False
            self._wake_in(_RETRY_SECONDS)
            return
        metrics.REPORTS.labels("answered").inc()
        if not self._heard:
            log.info("deployer_reached_again")
        self._heard = True
        if orders.lease_seconds / 3 < self._report_seconds:
            self._wake_in(orders.lease_seconds / 3)
        if self._replicas is not None:
            self._replicas.apply({order.spec.id: order for order in orders.replicas})

    async def check(self) -> None:
        """For readiness. Raises problems.Unavailable while the deployer does not answer."""
        if not self._heard:
            raise problems.Unavailable("the deployer does not answer; what runs here goes on")

    def _wake_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.loop.wake)
