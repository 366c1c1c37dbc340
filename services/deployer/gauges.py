"""How many replicas and workers there are, for the metrics of this process."""

from __future__ import annotations

from prometheus_client import Gauge
from sqlalchemy import func, select

from libs.common.db import Database
from libs.common.loops import Loop
from services.deployer.models import Deployment, Replica, Worker
from services.deployer.states import LIVE

REPLICAS = Gauge("constellation_replicas", "Replicas that have not ended.", ["state"])
WORKERS = Gauge("constellation_workers", "Workers, by whether they are heard.", ["state"])
PENDING = Gauge("constellation_deployments_pending", "Deployments whose replica finds no place.")


class Gauges:
    """Counts rows every ten seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.loop = Loop("gauges", self.once, every=10.0)

    async def once(self) -> None:
        by_state = select(Replica.state, func.count()).where(Replica.state.in_(LIVE)).group_by(Replica.state)
        heard = Worker.lease_until >= func.clock_timestamp()
        by_lease = select(func.count().filter(heard), func.count().filter(~heard)).select_from(Worker)
        pending = select(func.count()).select_from(Deployment).where(Deployment.pending_since.is_not(None))
        async with self._database.transaction() as session:
            replicas = {row[0]: row[1] for row in await session.execute(by_state)}
            ready, lost = (await session.execute(by_lease)).one()
            PENDING.set((await session.execute(pending)).scalar_one())
        for state in LIVE:
            REPLICAS.labels(state.value).set(replicas.get(state, 0))
        WORKERS.labels("ready").set(ready)
        WORKERS.labels("lost").set(lost)
