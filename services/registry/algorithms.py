"""Algorithms: made from a template, described, changed, listed, deleted."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import Select, func, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.catalog import Scaling
from libs.common.contracts.identity import Principal
from libs.common.contracts.references import NAME
from libs.common.db import Database, after_commit, now
from libs.common.pages import Page
from libs.common.problems import Conflict, Forbidden, Invalid
from services.registry import algorithm_settings, linked_versions, satellites, still_serving, store, templates
from services.registry.algorithm_settings import ScalingChange, SettingsChange
from services.registry.audit import Audit
from services.registry.catalog import Catalog
from services.registry.details import DetailsChange
from services.registry.launch_statuses import Statuses
from services.registry.models import Algorithm
from services.registry.pages import Paging
from services.registry.repositories import Repositories

SWEEP_SECONDS = 3600.0
DAY_SECONDS = 86_400.0


class CreatedInfo(BaseModel):
    sample_input: str | None = None


class SourceRequest(BaseModel):
    """Where the sources are kept. There is one place, `internal`."""

    scm: str | None = None


class UpdateRequest(BaseModel):
    """What is absent stays."""

    details: DetailsChange = DetailsChange()
    settings: SettingsChange = SettingsChange()
    version_info: CreatedInfo = CreatedInfo()
    source: SourceRequest = SourceRequest()


class CreateRequest(UpdateRequest):
    name: str


class Algorithms:
    def __init__(
        self, database: Database, repositories: Repositories, catalog: Catalog, audit: Audit, *, keep_days: int
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._catalog = catalog
        self._audit = audit
        self._keep_days = keep_days

    async def create(self, session: AsyncSession, owner: str, asked: CreateRequest, who: Principal) -> Algorithm:
        """A new algorithm with a repository that holds its language's template.

        Raises Invalid, Conflict with code 1002 when the name is taken (upper and lower case do not differ).
        """
        if not NAME.fullmatch(asked.name):
            raise Invalid(
                f"'{asked.name}' cannot name an algorithm: use a letter, then letters, digits or _, at most 30"
            )
        _check_source(asked.source)
        if await satellites.is_vanity(session, owner, asked.name):
            raise Conflict(f"'{owner}/{asked.name}' is the vanity URL of a satellite; choose another name", code=1002)
        if await store.is_application(session, owner, asked.name):
            raise Conflict(f"'{owner}/{asked.name}' is an application; choose another name", code=1002)
        language, settings, scaling = algorithm_settings.created(asked.settings)
        moment = now()
        algorithm = Algorithm(
            id=uuid4(),
            owner=owner,
            name=asked.name,
            language=language,
            details=asked.details.applied({}),
            settings=settings,
            scaling=scaling.model_dump(mode="json"),
            sample_input=asked.version_info.sample_input,
            created_at=moment,
            updated_at=moment,
        )
        session.add(algorithm)
        try:
            await session.flush()
        except IntegrityError:
            raise Conflict(f"{owner} has an algorithm '{asked.name}' already", code=1002) from None
        files = templates.render(language, owner, asked.name)
        algorithm.seen_head = await self._repositories.create(algorithm.id, files, f"Template of {asked.name}")
        self._audit.record(session, who, "algorithm.create", f"{owner}/{asked.name}")
        await self._catalog.tell(session, algorithm)
        return algorithm

    async def update(
        self, session: AsyncSession, algorithm_id: UUID, asked: UpdateRequest, who: Principal
    ) -> Algorithm:
        """Change what the request names. Raises Invalid."""
        algorithm = await store.locked(session, algorithm_id)
        _check_source(asked.source)
        algorithm.settings = algorithm_settings.changed(algorithm.settings, asked.settings)
        algorithm.language = algorithm_settings.language_of(algorithm.settings)
        scaling = algorithm_settings.scaled(Scaling.model_validate(algorithm.scaling), asked.settings.scaling)
        algorithm.scaling = scaling.model_dump(mode="json")
        algorithm.details = asked.details.applied(algorithm.details)
        if asked.version_info.sample_input is not None:
            algorithm.sample_input = asked.version_info.sample_input
        algorithm.updated_at = now()
        said = ", ".join(sorted(_named(asked.model_dump(exclude_none=True))))
        self._audit.record(session, who, "algorithm.update", f"{algorithm.owner}/{algorithm.name}", said or None)
        await self._catalog.tell(session, algorithm)
        return algorithm

    async def scale(
        self, session: AsyncSession, algorithm_id: UUID, asked: ScalingChange, who: Principal
    ) -> Algorithm:
        """Change how many replicas it has. Raises Invalid."""
        request = UpdateRequest(settings=SettingsChange(scaling=asked))
        return await self.update(session, algorithm_id, request, who)

    async def delete(self, session: AsyncSession, algorithm_id: UUID, who: Principal, statuses: Statuses) -> None:
        """Take an algorithm out of the catalog, with its builds, versions and secrets; its repository moves aside.

        Args:
            statuses: what deployers say of the launches that it may serve with.

        Raises Forbidden when it has a public version and the caller is no administrator, Conflict
        while a launch may be served by it or an application has a version of it.
        """
        algorithm = await store.locked(session, algorithm_id)
        if not who.is_admin and await store.is_public(session, algorithm_id):
            raise Forbidden("this algorithm has public versions; only administrators may delete it")
        if obstacle := still_serving.obstacle(await still_serving.candidates(session, algorithm_id), statuses):
            raise Conflict(obstacle)
        if linked := await linked_versions.of_algorithm(session, algorithm_id):
            raise Conflict(f"it is linked to the applications {', '.join(linked)}; unlink it first")
        self._audit.record(session, who, "algorithm.delete", f"{algorithm.owner}/{algorithm.name}")
        await session.delete(algorithm)
        await self._catalog.forget(session, algorithm_id)
        after_commit(session, lambda: asyncio.to_thread(self._repositories.move_aside, algorithm_id))

    async def sweep(self) -> None:
        """Move aside repositories whose algorithm is gone, and delete those that were moved aside long ago."""
        async with self._database.transaction() as session:
            known = set((await session.execute(select(Algorithm.id))).scalars().all())
        for stray in await asyncio.to_thread(self._repositories.strays, known, older_than=SWEEP_SECONDS):
            await asyncio.to_thread(self._repositories.move_aside, stray)
        await asyncio.to_thread(self._repositories.purge, older_than=self._keep_days * DAY_SECONDS)


async def page(
    session: AsyncSession, paging: Paging, who: Principal, *, owner: str | None = None, search: str | None = None
) -> Page[Algorithm]:
    """Algorithms that the caller may know of, by owner and name; of one owner, or whose name has a word in it."""
    query = _visible(who)
    if owner is not None:
        query = query.where(Algorithm.owner == owner)
    if search:
        query = query.where(func.strpos(func.lower(Algorithm.owner + "/" + Algorithm.name), func.lower(search)) > 0)
    if paging.after is not None:
        query = query.where(tuple_(Algorithm.owner, Algorithm.name) > tuple_(*paging.after))
    query = query.order_by(Algorithm.owner, Algorithm.name).limit(paging.limit + 1)
    rows = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda algorithm: (algorithm.owner, algorithm.name))


def _visible(who: Principal) -> Select[Algorithm]:
    query = select(Algorithm)
    if who.is_admin:
        return query
    own = Algorithm.owner.in_([who.name, *who.organizations])
    return query.where(or_(own, store.published_publicly()))


def _check_source(source: SourceRequest) -> None:
    if source.scm not in (None, "internal"):
        raise Invalid(f"source.scm: '{source.scm}' is not offered here; leave it out or use 'internal'", code=4009)


def _named(members: dict[str, Any]) -> list[str]:
    """The names of all members of a request, without their values."""
    names = []
    for name, value in members.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
    return names
