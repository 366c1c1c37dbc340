"""Finding rows. Who changes an algorithm, or what belongs to it, locks its row first (`locked`)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from libs.common.contracts.applications import ADDRESS
from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Callability
from libs.common.problems import Unprocessable
from services.registry.access import NoSuchAlgorithm
from services.registry.models import Algorithm, Application, Build, Release


async def named(session: AsyncSession, owner: str, name: str) -> Algorithm:
    """Raises NoSuchAlgorithm."""
    query = select(Algorithm).where(Algorithm.owner == owner, Algorithm.name == name)
    return _present((await session.execute(query)).scalar_one_or_none())


async def by_id(session: AsyncSession, algorithm_id: UUID) -> Algorithm:
    """Raises NoSuchAlgorithm."""
    return _present(await session.get(Algorithm, algorithm_id))


async def locked(session: AsyncSession, algorithm_id: UUID) -> Algorithm:
    """The algorithm as it is now, its row locked until the transaction ends. Raises NoSuchAlgorithm."""
    query = (
        select(Algorithm)
        .where(Algorithm.id == algorithm_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return _present((await session.execute(query)).scalar_one_or_none())


def published_publicly() -> ColumnElement[bool]:
    """SQL condition on an algorithm: it has a version for everybody."""
    return exists().where(Release.algorithm_id == Algorithm.id, Release.callability == Callability.PUBLIC)


async def is_public(session: AsyncSession, algorithm_id: UUID) -> bool:
    query = select(exists().where(Release.algorithm_id == algorithm_id, Release.callability == Callability.PUBLIC))
    return bool((await session.execute(query)).scalar_one())


async def releases(session: AsyncSession, algorithm_id: UUID) -> Sequence[Release]:
    """What is published, oldest build first."""
    query = select(Release).join(Build).where(Release.algorithm_id == algorithm_id).order_by(Build.number)
    return (await session.execute(query)).scalars().all()


async def newest_build(
    session: AsyncSession, algorithm_id: UUID, *, state: BuildState | None = None, commit: str | None = None
) -> Build | None:
    """The newest build, of those in a state or of a commit where that is asked for."""
    query = select(Build).where(Build.algorithm_id == algorithm_id)
    if state is not None:
        query = query.where(Build.state == state)
    if commit is not None:
        query = query.where(Build.commit == commit)
    return (await session.execute(query.order_by(Build.number.desc()).limit(1))).scalar_one_or_none()


def _present(algorithm: Algorithm | None) -> Algorithm:
    if algorithm is None:
        raise NoSuchAlgorithm
    return algorithm


async def built(session: AsyncSession, owner: str, name: str, commit: str) -> tuple[Algorithm, Build]:
    """An algorithm and its successful build of a commit. Raises Unprocessable when there is none."""
    try:
        algorithm = await named(session, owner, name)
    except NoSuchAlgorithm:
        raise Unprocessable(f"there is no algorithm {owner}/{name}") from None
    build = await newest_build(session, algorithm.id, state=BuildState.SUCCEEDED, commit=commit)
    if build is None:
        raise Unprocessable(f"{owner}/{name} has no successful build of {commit}; push the commit and wait for it")
    return algorithm, build


async def is_application(session: AsyncSession, owner: str, name: str) -> bool:
    """Is `owner/name` the reference of an application, however its letters are written?"""
    same = (func.lower(Application.name) == func.lower(name)) & Application.removed_at.is_(None)
    return owner.lower() == ADDRESS and bool((await session.execute(select(exists().where(same)))).scalar_one())


async def exists_ignoring_case(session: AsyncSession, owner: str, name: str) -> bool:
    """Is there an algorithm of that name, however its letters are written?"""
    same = (func.lower(Algorithm.owner) == func.lower(owner)) & (func.lower(Algorithm.name) == func.lower(name))
    return bool((await session.execute(select(exists().where(same)))).scalar_one())
