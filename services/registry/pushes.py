"""What follows a push: one build of the new head of `master`.

A row is written before git receives anything, and removed in the transaction that looks at what arrived. When the
registry dies in between, the row is still there, and `repair` looks.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import logs
from libs.common.db import Database, now
from libs.common.loops import Loop
from services.registry import store
from services.registry.access import NoSuchAlgorithm
from services.registry.builds import Builds
from services.registry.models import Push
from services.registry.repositories import Repositories

log = logs.get(__name__)

GRACE_SECONDS = 60.0


class Pushes:
    """See the module's documentation.

    Args:
        deadline: seconds after which no push is under way any more.
    """

    def __init__(self, database: Database, repositories: Repositories, builds: Builds, *, deadline: float) -> None:
        self._database = database
        self._repositories = repositories
        self._builds = builds
        self._deadline = deadline + GRACE_SECONDS
        self.loop = Loop("pushes", self.repair, every=5.0)

    async def begin(self, session: AsyncSession, algorithm_id: UUID, actor: str) -> UUID:
        """Note that a push may come. To be committed before git sees any of it."""
        push = Push(algorithm_id=algorithm_id, started_at=now(), actor=actor)
        session.add(push)
        await session.flush()
        return push.id

    async def settle(self, push_id: UUID, algorithm_id: UUID) -> None:
        """The push ended, well or not: request the build that it asks for."""
        async with self._database.transaction() as session:
            await self._look(session, algorithm_id)
            await session.execute(delete(Push).where(Push.id == push_id))

    async def repair(self) -> None:
        """Look at every repository that a push may have changed, and end pushes that nobody carries out any more."""
        async with self._database.transaction() as session:
            pending = (await session.execute(select(Push.algorithm_id).distinct())).scalars().all()
        for algorithm_id in pending:
            async with self._database.transaction() as session:
                await self._look(session, algorithm_id)
                limit = now() - timedelta(seconds=self._deadline)
                over = delete(Push).where(Push.algorithm_id == algorithm_id, Push.started_at < limit)
                ended = (await session.execute(over.returning(Push.id))).all()
            if ended:
                log.warning("pushes_lost", algorithm=str(algorithm_id), count=len(ended))
                await asyncio.to_thread(self._repositories.unlock, algorithm_id, older_than=self._deadline)

    async def _look(self, session: AsyncSession, algorithm_id: UUID) -> None:
        """Request a build when `master` is not where it was seen last. The head is read under the row's lock, so that
        nobody acts on an older one afterwards."""
        try:
            algorithm = await store.locked(session, algorithm_id)
        except NoSuchAlgorithm:
            return
        head = await self._repositories.head(algorithm_id)
        if head is not None and head != algorithm.seen_head:
            build = await self._builds.request(session, algorithm, head)
            algorithm.seen_head = head
            log.info("push_built", algorithm=f"{algorithm.owner}/{algorithm.name}", build=str(build.id))
