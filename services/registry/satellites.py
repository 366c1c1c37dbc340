"""Satellites: algorithms at fixed commits that are launched together, and their versions.

Every edit makes a new version. A version never changes, so neither does what was launched of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import etags
from libs.common.contracts.identity import Principal
from libs.common.contracts.launches import LaunchEntry
from libs.common.db import now
from libs.common.directory import Directory
from libs.common.pages import Page
from libs.common.problems import Conflict, NotFound, PreconditionFailed, Unprocessable
from services.registry import accepted_keys, satellite_entries, store
from services.registry.audit import Audit
from services.registry.models import Launch, Satellite, SatelliteVersion
from services.registry.pages import Paging
from services.registry.satellite_entries import Asked, EntryBody


class SatelliteBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    algorithms: list[EntryBody]


class SatelliteChange(BaseModel):
    """What is absent stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    algorithms: list[EntryBody] | None = None


class Satellites:
    def __init__(self, audit: Audit, directory: Directory) -> None:
        self._audit = audit
        self._directory = directory

    async def create(self, session: AsyncSession, asked: SatelliteBody, who: Principal) -> Satellite:
        """Raises Unprocessable for entries that cannot be, Conflict when the name is taken."""
        moment = now()
        row = Satellite(
            id=uuid4(),
            name=satellite_entries.name(asked.name, "satellite"),
            version=1,
            created_at=moment,
            created_by=who.name,
            updated_at=moment,
        )
        entries = await _resolve(session, asked.algorithms)
        session.add(row)
        await _flush(session, row)
        await self._add_version(session, row, entries, who)
        self._audit.record(session, who, "satellite.create", f"{row.name} ({row.id})", f"version {row.version}")
        return row

    async def change(
        self,
        session: AsyncSession,
        satellite_id: UUID,
        asked: SatelliteChange,
        who: Principal,
        *,
        if_match: Sequence[str] | None = None,
    ) -> Satellite:
        """Other algorithms make a new version; what runs stays as it is.

        Args:
            if_match: entity tags, one of which the newest version has to have.

        Raises as `create`, NotFound, PreconditionFailed, and Invalid when `if_match` cannot be read.
        """
        row = await locked(session, satellite_id)
        if if_match is not None and not etags.matches(if_match, tag(row)):
            raise PreconditionFailed(
                f"satellite '{row.name}' is at version {row.version} by now, and this change was made on another one."
                " Nothing was changed; read the satellite again, and make the change on that version"
            )
        if asked.name is not None:
            row.name = satellite_entries.name(asked.name, "satellite")
            await _flush(session, row)
        if asked.algorithms is not None:
            entries = await _resolve(session, asked.algorithms)
            if [entry.model_dump(mode="json") for entry in entries] != (await version(session, row)).entries:
                row.version += 1
                await self._add_version(session, row, entries, who)
        row.updated_at = now()
        self._audit.record(session, who, "satellite.edit", f"{row.name} ({row.id})", f"version {row.version}")
        return row

    async def renew_keys(self, session: AsyncSession, satellite_id: UUID, who: Principal) -> Satellite:
        """A version with the same algorithms, which accepts the keys of today."""
        row = await locked(session, satellite_id)
        newest = await version(session, row)
        row.version += 1
        row.updated_at = now()
        await self._add_version(session, row, [LaunchEntry.model_validate(one) for one in newest.entries], who)
        self._audit.record(session, who, "satellite.renew_keys", f"{row.name} ({row.id})", f"version {row.version}")
        return row

    async def remove(self, session: AsyncSession, satellite_id: UUID, who: Principal) -> None:
        """Take it out of the lists. Idempotent. Raises Conflict while it has launch instances, and names them."""
        row = await session.get(Satellite, satellite_id, with_for_update=True)
        if row is None or row.removed_at is not None:
            return
        query = select(Launch.name).where(Launch.satellite_id == row.id, Launch.removed_at.is_(None))
        names = (await session.execute(query.order_by(Launch.name).limit(10))).scalars().all()
        if names:
            raise Conflict(f"it has launch instances: {', '.join(names)}; remove them first")
        row.removed_at = now()
        self._audit.record(session, who, "satellite.remove", f"{row.name} ({row.id})")

    async def _add_version(
        self, session: AsyncSession, row: Satellite, entries: Sequence[LaunchEntry], who: Principal
    ) -> None:
        moment = now()
        named = [(entry.owner, entry.name, await store.is_public(session, entry.algorithm_id)) for entry in entries]
        keys = await accepted_keys.keep(session, accepted_keys.accepted(self._directory, named, moment))
        session.add(
            SatelliteVersion(
                satellite_id=row.id,
                number=row.version,
                entries=[entry.model_dump(mode="json") for entry in entries],
                keys=keys,
                created_at=moment,
                created_by=who.name,
            )
        )
        await session.flush()


async def get(session: AsyncSession, satellite_id: UUID) -> Satellite:
    """Raises NotFound."""
    return _present(await session.get(Satellite, satellite_id), satellite_id)


async def locked(session: AsyncSession, satellite_id: UUID) -> Satellite:
    """Its row, locked until the transaction ends. Raises NotFound."""
    row = await session.get(Satellite, satellite_id, with_for_update=True, populate_existing=True)
    return _present(row, satellite_id)


def tag(row: Satellite) -> str:
    """The entity tag of its newest version."""
    return etags.strong(row.version)


async def version(session: AsyncSession, row: Satellite, number: int | None = None) -> SatelliteVersion:
    """One version, the newest if no number is given. Raises NotFound."""
    wanted = row.version if number is None else number
    found = await session.get(SatelliteVersion, (row.id, wanted)) if 0 < wanted < 1 << 31 else None
    if found is None:
        raise NotFound(f"satellite '{row.name}' has no version {wanted}; its newest is {row.version}")
    return found


async def names(session: AsyncSession, ids: Collection[UUID]) -> Mapping[UUID, str]:
    """What satellites are called, by id."""
    found = await session.execute(select(Satellite.id, Satellite.name).where(Satellite.id.in_(ids)))
    return dict(found.all())


async def newest_versions(session: AsyncSession, rows: Sequence[Satellite]) -> Mapping[UUID, SatelliteVersion]:
    """The newest version of each satellite, by its id."""
    wanted = [(row.id, row.version) for row in rows]
    query = select(SatelliteVersion).where(tuple_(SatelliteVersion.satellite_id, SatelliteVersion.number).in_(wanted))
    return {found.satellite_id: found for found in (await session.execute(query)).scalars()}


async def versions(session: AsyncSession, row: Satellite, paging: Paging) -> Page[SatelliteVersion]:
    """Newest first."""
    query = select(SatelliteVersion).where(SatelliteVersion.satellite_id == row.id)
    if paging.after is not None:
        query = query.where(SatelliteVersion.number < paging.after[0])
    query = query.order_by(SatelliteVersion.number.desc()).limit(paging.limit + 1)
    rows = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda one: (one.number,))


async def page(session: AsyncSession, paging: Paging, *, search: str | None) -> Page[Satellite]:
    """By name; those that have a text in it."""
    query = select(Satellite).where(Satellite.removed_at.is_(None))
    if search:
        query = query.where(func.strpos(func.lower(Satellite.name), func.lower(search)) > 0)
    place = tuple_(func.lower(Satellite.name), Satellite.id)
    if paging.after is not None:
        name, key = paging.after
        query = query.where(place > tuple_(func.lower(name), key))
    rows = (
        (await session.execute(query.order_by(func.lower(Satellite.name), Satellite.id).limit(paging.limit + 1)))
        .scalars()
        .all()
    )
    return paging.page(rows, lambda one: (one.name, one.id))


async def is_vanity(session: AsyncSession, owner: str, name: str) -> bool:
    """Does a version of a satellite answer to `owner/name`?"""
    query = select(SatelliteVersion.number).where(
        SatelliteVersion.entries.contains([{"vanity_url": f"{owner}/{name}"}])
    )
    return (await session.execute(query.limit(1))).first() is not None


async def _resolve(session: AsyncSession, bodies: Sequence[EntryBody]) -> list[LaunchEntry]:
    """The entries with what they name. Raises Unprocessable that names each one with a fault."""
    entries, faults = [], []
    for number, asked in enumerate(satellite_entries.read(bodies)):
        try:
            entries.append(await _resolve_one(session, asked))
        except Unprocessable as fault:
            faults.append(f"algorithms[{number}]: {fault.detail}")
    if faults:
        raise Unprocessable("; ".join(faults[:20]))
    return entries


async def _resolve_one(session: AsyncSession, asked: Asked) -> LaunchEntry:
    owner, name = asked.vanity_url.split("/")
    if await store.exists_ignoring_case(session, owner, name):
        raise Unprocessable(
            f"the vanity URL '{asked.vanity_url}' is the name of an algorithm, which it would hide; choose another"
        )
    if await store.is_application(session, owner, name):
        raise Unprocessable(f"the vanity URL '{asked.vanity_url}' is that of an application; choose another")
    algorithm, build = await store.built(session, asked.owner, asked.name, asked.commit)
    return LaunchEntry(
        vanity_url=asked.vanity_url,
        owner=algorithm.owner,
        name=algorithm.name,
        commit=build.commit,
        algorithm_id=algorithm.id,
        revision_id=build.id,
        replicas=asked.replicas,
    )


async def _flush(session: AsyncSession, row: Satellite) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict(f"there is a satellite '{row.name}' already") from None


def _present(row: Any, satellite_id: UUID) -> Satellite:
    if row is None or row.removed_at is not None:
        raise NotFound(f"there is no satellite {satellite_id}")
    found: Satellite = row
    return found
