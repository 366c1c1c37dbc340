"""What deployers are told of the demand for replicas."""

from __future__ import annotations

from uuid import UUID

from libs.common.contracts.replicas import DemandReport
from services.gateway.demand import DemandReporter
from services.gateway.pool import Pool, Pools

GATEWAY = "gateway-1"


class World:
    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.reports: list[DemandReport] = []
        self.reporter = DemandReporter(self.pools, self._take, lambda: GATEWAY)

    async def _take(self, report: DemandReport) -> None:
        self.reports.append(report)

    async def called(self, *pools: Pool) -> list[list[UUID]]:
        """The revisions in each report so far, after these were called."""
        self.pools.called.update(pools)
        await self.reporter.once()
        return [[demand.revision_id for demand in report.demands] for report in self.reports]


async def test_that_there_is_no_demand_is_told_once_and_only_after_some(pools: Pools) -> None:
    world = World(pools)
    launched, own = pools.launched(UUID(int=1)), pools.of(UUID(int=2), UUID(int=3))
    assert await world.called(launched) == [], "its replicas are not on demand"
    assert await world.called(launched, own) == [[UUID(int=2)]]
    assert await world.called(launched) == [[UUID(int=2)], []]
    assert await world.called(launched) == [[UUID(int=2)], []]
    assert await world.called() == [[UUID(int=2)], []]
