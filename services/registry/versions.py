"""Versions: built commits, by their hash, and by the number under which they are published."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Callability
from libs.common.contracts.identity import Principal
from libs.common.contracts.references import semantic
from libs.common.db import now
from libs.common.pages import Page
from libs.common.problems import Conflict, Forbidden, Invalid, NotFound
from services.registry import access, algorithm_settings, numbering, store
from services.registry.algorithm_settings import SettingsChange
from services.registry.audit import Audit
from services.registry.catalog import Catalog
from services.registry.details import DetailsChange
from services.registry.models import Algorithm, Build, Release
from services.registry.pages import Paging

Text = Annotated[str, Field(max_length=1_000_000)]
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")


class PublishedInfo(BaseModel):
    """`version_info` of a publish request."""

    version_type: str | None = None
    release_notes: Text | None = None
    sample_input: Text | None = None
    sample_output: Text | None = None
    insights_enabled: StrictBool | None = None


class PublishRequest(BaseModel):
    details: DetailsChange = DetailsChange()
    settings: SettingsChange = SettingsChange()
    version_info: PublishedInfo = PublishedInfo()


@dataclass(frozen=True)
class Version:
    build: Build
    release: Release | None


class Versions:
    def __init__(self, catalog: Catalog, audit: Audit) -> None:
        self._catalog = catalog
        self._audit = audit

    async def publish(
        self, session: AsyncSession, algorithm_id: UUID, asked: PublishRequest, who: Principal
    ) -> Version:
        """Publish the newest successful build. Changes nothing when it fails.

        Raises Invalid (1010 when nothing was built), Conflict (1007 when it is published already), Forbidden.
        """
        kind = numbering.version_type(asked.version_info.version_type)
        algorithm = await store.locked(session, algorithm_id)
        build = await store.newest_build(session, algorithm_id, state=BuildState.SUCCEEDED)
        if build is None:
            raise Invalid("there is no successful build to publish: push a commit and wait for its build", code=1010)
        published = await store.releases(session, algorithm_id)
        if any(one.build_id == build.id for one in published):
            raise Conflict(f"the newest successful build, {build.commit}, is published already", code=1007)
        number = numbering.next_number([one.number for one in published], kind)
        callability = numbering.callability(
            [(one.number, one.callability) for one in published], number, asked.settings.algorithm_callability
        )
        if callability is Callability.PUBLIC and not access.publishes_publicly(who, algorithm.owner):
            raise Forbidden(f"only owners of {algorithm.owner} publish publicly in its name")
        algorithm.settings = algorithm_settings.changed(algorithm.settings, asked.settings)
        algorithm.language = algorithm_settings.language_of(algorithm.settings)
        algorithm.details = asked.details.applied(algorithm.details)
        algorithm.updated_at = now()
        release = Release(
            build_id=build.id,
            algorithm_id=algorithm.id,
            callability=callability,
            published_at=now(),
            published_by=who.name,
            **_numbered(number),
            **_described(asked.version_info, algorithm),
        )
        session.add(release)
        name = f"{algorithm.owner}/{algorithm.name}/{release.semantic_version}"
        self._audit.record(session, who, "version.publish", name, f"{callability}, {build.commit}")
        await self._catalog.tell(session, algorithm)
        return Version(build, release)


async def page(
    session: AsyncSession,
    algorithm_id: UUID,
    paging: Paging,
    *,
    published: bool | None,
    public: bool | None,
) -> Page[Version]:
    """Successful builds, newest first: all, or only those that are published or not, callable by everybody or not."""
    query = _built(algorithm_id)
    if published is not None:
        query = query.where(Release.build_id.is_not(None) if published else Release.build_id.is_(None))
    if public is not None:
        everybody = Release.callability.is_not_distinct_from(Callability.PUBLIC)
        query = query.where(everybody if public else ~everybody)
    if paging.after is not None:
        query = query.where(Build.number < paging.after[0])
    rows = await session.execute(query.limit(paging.limit + 1))
    found = [Version(row[0], row[1]) for row in rows]
    return paging.page(found, lambda version: (version.build.number,))


async def get(session: AsyncSession, algorithm_id: UUID, text: str, *, insider: bool) -> Version:
    """A version by commit or number; insiders also see the finished failed build of a commit.

    Raises NotFound with code 1014.
    """
    found = await _by_commit(session, algorithm_id, text) if _COMMIT.fullmatch(text) else None
    if found is None:
        found = await _by_number(session, algorithm_id, text)
    public = found is not None and found.release is not None and found.release.callability is Callability.PUBLIC
    if found is None or not (insider or public):
        raise NotFound(f"there is no version '{text}' of this algorithm", code=1014)
    return found


async def newest(session: AsyncSession, algorithm_id: UUID, *, insider: bool) -> Version | None:
    """The newest published version that the caller may see; for insiders else the newest build that succeeded."""
    query = _built(algorithm_id).limit(1)
    seen = [Release.callability == Callability.PUBLIC] if not insider else [Release.build_id.is_not(None), None]
    for condition in seen:
        row = (await session.execute(query.where(condition) if condition is not None else query)).one_or_none()
        if row is not None:
            return Version(row[0], row[1])
    return None


def _built(algorithm_id: UUID) -> Select[Build, Release]:
    return (
        select(Build, Release)
        .outerjoin(Release, Release.build_id == Build.id)
        .where(Build.algorithm_id == algorithm_id, Build.state == BuildState.SUCCEEDED)
        .order_by(Build.number.desc())
    )


async def _by_commit(session: AsyncSession, algorithm_id: UUID, commit: str) -> Version | None:
    query = _built(algorithm_id).where(Build.commit == commit.lower())
    if (row := (await session.execute(query.limit(1))).one_or_none()) is not None:
        return Version(row[0], row[1])
    build = await store.newest_build(session, algorithm_id, state=BuildState.FAILED, commit=commit.lower())
    return Version(build, None) if build is not None else None


async def _by_number(session: AsyncSession, algorithm_id: UUID, text: str) -> Version | None:
    try:
        major, minor, revision = semantic(text)
    except ValueError:
        return None
    same = (Release.major == major) & (Release.minor == minor) & (Release.revision == revision)
    row = (await session.execute(_built(algorithm_id).where(same))).one_or_none()
    return Version(row[0], row[1]) if row is not None else None


def _numbered(number: numbering.Number) -> dict[str, int]:
    return dict(zip(("major", "minor", "revision"), number, strict=True))


def _described(info: PublishedInfo, algorithm: Algorithm) -> dict[str, Any]:
    return {
        "release_notes": info.release_notes,
        "sample_input": info.sample_input if info.sample_input is not None else algorithm.sample_input,
        "sample_output": info.sample_output,
        "insights_enabled": bool(info.insights_enabled),
    }
