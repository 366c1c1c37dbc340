"""Switches that wait: an application whose next version is still starting changes over once that is ready.

A version is ready when a deployer says that its newest order is done. The switch follows a turn later, so that every
gateway has heard of the new replicas before it is told to use them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select

from libs.common.contracts.launches import LaunchState, LaunchStatus
from libs.common.db import Database
from libs.common.loops import Loop
from services.registry.applications import Applications
from services.registry.models import Application, LinkedVersion, LinkState

MOST = 1000
"""Versions that are looked at in one turn."""
EVERY_SECONDS = 0.5

Statuses = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, LaunchStatus] | None]]


class Switches:
    """Args:
    statuses: how the replicas of linked versions are doing; None when no deployer answers.
    """

    def __init__(self, database: Database, applications: Applications, statuses: Statuses) -> None:
        self._database = database
        self._applications = applications
        self._statuses = statuses
        self.loop = Loop("switches", self.once, every=EVERY_SECONDS)

    async def once(self) -> None:
        """Look at what is starting, and carry out the switches that waited for it."""
        starting, touched = await self._waiting()
        statuses = await self._statuses(list(starting)) or {}
        ready = {key: status.deployment_id for key, status in statuses.items() if is_up(status)}
        touched.update(starting[key] for key in ready.keys() & starting.keys())
        for application_id in sorted(touched):
            async with self._database.transaction() as session:
                await self._applications.settle(session, application_id, ready)

    async def _waiting(self) -> tuple[dict[UUID, UUID], set[UUID]]:
        """Versions that are starting, with their applications; and applications that can switch."""
        starting = (
            select(LinkedVersion.id, LinkedVersion.application_id)
            .where(LinkedVersion.state == LinkState.STARTING, LinkedVersion.unlinked_at.is_(None))
            .order_by(LinkedVersion.id)
            .limit(MOST)
        )
        due = (
            select(Application.id)
            .join(LinkedVersion, LinkedVersion.id == Application.switching_to)
            .where(LinkedVersion.state == LinkState.READY)
        )
        async with self._database.transaction() as session:
            found = {row.id: row.application_id for row in await session.execute(starting)}
            return found, set((await session.execute(due)).scalars())


def is_up(status: LaunchStatus) -> bool:
    """All replicas that were ordered were ready, or as many as before where those could not be had. One still is."""
    return status.state in (LaunchState.DEPLOYED, LaunchState.ROLLED_BACK) and status.ready > 0
