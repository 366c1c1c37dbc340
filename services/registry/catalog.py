"""What exists, for those who serve it: the catalog feed, one entry per algorithm (`contracts/catalog.py`).

An entry is written in the transaction of the change that it tells, with the algorithm's row locked, so that entries
of one algorithm are made one after the other, each from all that was committed before.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import (
    CATALOG_FEED,
    Artifact,
    Callability,
    CatalogEntry,
    NetworkAccess,
    Revision,
    Scaling,
)
from libs.common.feed import FeedPublisher
from services.registry.models import Algorithm, Build, Release


class Catalog:
    def __init__(self, publisher: FeedPublisher) -> None:
        self._publisher = publisher

    async def tell(self, session: AsyncSession, algorithm: Algorithm) -> None:
        """Publish an algorithm as the session sees it. Its row is locked, and nothing else is locked afterwards."""
        await session.flush()
        told = await entry(session, algorithm)
        await self._publisher.publish(session, CATALOG_FEED, str(algorithm.id), told.model_dump(mode="json"))

    async def forget(self, session: AsyncSession, algorithm_id: UUID) -> None:
        """The algorithm is gone. The last thing that a transaction does."""
        await session.flush()
        await self._publisher.publish(session, CATALOG_FEED, str(algorithm_id), None)


async def entry(session: AsyncSession, algorithm: Algorithm, only: Collection[UUID] | None = None) -> CatalogEntry:
    """An algorithm's entry.

    Args:
        only: the revisions to name; None names all.
    """
    query = (
        select(Build, Release)
        .outerjoin(Release, Release.build_id == Build.id)
        .where(Build.algorithm_id == algorithm.id, Build.state == BuildState.SUCCEEDED)
        .order_by(Build.number)
    )
    if only is not None:
        query = query.where(Build.id.in_(only))
    return CatalogEntry(
        id=algorithm.id,
        owner=algorithm.owner,
        name=algorithm.name,
        network_access=NetworkAccess(algorithm.settings["network_access"]),
        pipeline_enabled=algorithm.settings["pipeline_enabled"],
        scaling=Scaling.model_validate(algorithm.scaling),
        secrets_version=algorithm.secrets_version,
        revisions=tuple([_revision(build, release) for build, release in await session.execute(query)]),
    )


def _revision(build: Build, release: Release | None) -> Revision:
    assert build.finished_at is not None  # noqa: S101 - a succeeded build has an end
    return Revision(
        id=build.id,
        commit=build.commit,
        version=release.semantic_version if release else None,
        callability=release.callability if release else Callability.PRIVATE,
        language=build.language,
        artifact=Artifact.model_validate(build.artifact),
        built_at=build.finished_at,
    )
