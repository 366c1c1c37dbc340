"""What satellites apart from the platform tell of themselves: how they are doing, and what was called there.

A report is named by launch, gateway, run and number, and counts once however often it comes. A satellite is believed
about its own: calls of what its launch runs, by those whose keys it accepts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.events import CallRecord
from libs.common.contracts.identity import Principal
from libs.common.contracts.launches import LaunchEntry
from libs.common.contracts.satellites import EARLIEST, ReportsTaken, SatelliteReport
from libs.common.db import Database, now
from libs.common.problems import Invalid
from libs.common.text import storable
from services.registry import launches
from services.registry.audit import Audit
from services.registry.models import (
    AcceptedKeys,
    Call,
    Launch,
    SatelliteRun,
    SatelliteUsage,
    SatelliteVersion,
)

MOST_RUNS = 200
"""Runs that are shown of one launch."""
_SHOWN_FOR = timedelta(days=7)
_MOST_VERSIONS = 50
_ROWS_AT_ONCE = 1000


@dataclass
class Own:
    """What a launch runs or ran, and for whom."""

    algorithms: set[UUID] = field(default_factory=set)
    vanity_urls: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)

    def has(self, record: CallRecord) -> bool:
        return (
            record.account in self.accounts
            and (record.algorithm_id is None or record.algorithm_id in self.algorithms)
            and record.at >= EARLIEST
        )


@dataclass(frozen=True)
class Usage:
    """Of one entry, within an hour or a day."""

    vanity_url: str
    since: datetime
    calls: int
    errors: int
    seconds: float


class Reports:
    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def take(
        self, session: AsyncSession, launch_id: UUID, sent: Sequence[SatelliteReport], who: Principal
    ) -> ReportsTaken:
        """Take what was not taken before.

        Args:
            sent: of one run of one gateway.

        Raises:
            Invalid: they are of several launches or runs.
            NotFound: there never was such a launch.
        """
        instance, run = sent[0].instance, sent[0].run
        if {(one.launch_id, one.instance, one.run) for one in sent} != {(launch_id, instance, run)}:
            raise Invalid("send reports of this launch, and of one run of one gateway at a time")
        launch = await launches.ever(session, launch_id)
        row = await _locked(session, launch_id, instance, run)
        known = row.satellite_version
        new = sorted((one for one in sent if one.sequence > row.sequence), key=lambda one: one.sequence)
        if new:
            await self._keep(session, launch, row, new)
            if row.satellite_version != known:
                said = f"gateway {instance} (Constellation {row.version}) serves version {row.satellite_version}"
                self._audit.record(session, who, "satellite.serve", f"{launch.name} ({launch_id})", storable(said))
        row.heard_at = now()
        return ReportsTaken(run=run, sequence=row.sequence)

    async def purge(self, days: int) -> None:
        """Forget what is older."""
        limit = now() - timedelta(days=days)
        async with self._database.transaction() as session:
            await session.execute(delete(SatelliteUsage).where(SatelliteUsage.hour < limit))
            await session.execute(delete(SatelliteRun).where(SatelliteRun.heard_at < limit))

    async def _keep(
        self, session: AsyncSession, launch: Launch, row: SatelliteRun, new: Sequence[SatelliteReport]
    ) -> None:
        own = await _own(session, launch, {row.satellite_version, *(report.satellite_version for report in new)})
        moment = now()
        usage: defaultdict[tuple[datetime, str], list[float]] = defaultdict(lambda: [0, 0, 0.0])
        calls = []
        for report in new:
            hour = min(report.at, moment).replace(minute=0, second=0, microsecond=0)
            for one in report.usage:
                if one.vanity_url in own.vanity_urls:
                    counts = usage[hour, one.vanity_url]
                    counts[0] += one.calls
                    counts[1] += one.errors
                    counts[2] += one.seconds
            kept = [record for record in report.records if own.has(record)]
            row.dropped += report.dropped + len(report.records) - len(kept)
            calls += [_call(record, launch.id, report.instance) for record in kept]
        await _add_usage(session, launch.id, usage)
        for first in range(0, len(calls), _ROWS_AT_ONCE):
            statement = insert(Call).values(calls[first : first + _ROWS_AT_ONCE])
            await session.execute(statement.on_conflict_do_nothing(index_elements=["request_id", "at"]))
        newest = new[-1]
        row.sequence, row.reported_at = newest.sequence, newest.at
        row.deployment_id, row.satellite_version = newest.deployment_id, newest.satellite_version
        row.version = newest.version
        row.entries = [one.model_dump(mode="json") for one in newest.entries]


async def runs(session: AsyncSession, launch_id: UUID, *, stale: timedelta) -> list[tuple[SatelliteRun, bool]]:
    """The gateways of a launch that reported in the last days, newest first; and was each silent for too long?

    A run that was followed by another one of the same gateway is left out once it is silent. The newest run of each
    gateway comes before any older one where there is not room for all.
    """
    limit = now() - stale
    of_gateway = func.row_number().over(
        partition_by=SatelliteRun.instance, order_by=(SatelliteRun.first_heard_at.desc(), SatelliteRun.run.desc())
    )
    ranked = (
        select(SatelliteRun.instance, SatelliteRun.run, of_gateway.label("rank"))
        .where(SatelliteRun.launch_id == launch_id, SatelliteRun.heard_at > now() - _SHOWN_FOR)
        .subquery()
    )
    query = (
        select(SatelliteRun)
        .join(ranked, (ranked.c.instance == SatelliteRun.instance) & (ranked.c.run == SatelliteRun.run))
        .where(SatelliteRun.launch_id == launch_id, or_(ranked.c.rank == 1, SatelliteRun.heard_at >= limit))
        .order_by((ranked.c.rank == 1).desc(), SatelliteRun.first_heard_at.desc(), SatelliteRun.run.desc())
        .limit(MOST_RUNS)
    )
    rows = (await session.execute(query)).scalars().all()
    newest_first = sorted(rows, key=lambda row: (row.first_heard_at, row.run), reverse=True)
    return [(row, row.heard_at < limit) for row in newest_first]


async def usage(session: AsyncSession, launch_id: UUID, *, since: datetime, by: str) -> list[Usage]:
    """What was called of each entry, summed.

    Args:
        by: hour or day, of UTC.
    """
    start = func.date_trunc(by, SatelliteUsage.hour, "UTC")
    query = (
        select(
            SatelliteUsage.vanity_url,
            start,
            func.sum(SatelliteUsage.calls),
            func.sum(SatelliteUsage.errors),
            func.sum(SatelliteUsage.seconds),
        )
        .where(SatelliteUsage.launch_id == launch_id, SatelliteUsage.hour >= since)
        .group_by(start, SatelliteUsage.vanity_url)
        .order_by(start, SatelliteUsage.vanity_url)
    )
    rows: Sequence[Any] = (await session.execute(query)).all()
    return [Usage(vanity, at, int(calls), int(errors), float(seconds)) for vanity, at, calls, errors, seconds in rows]


async def _locked(session: AsyncSession, launch_id: UUID, instance: str, run: str) -> SatelliteRun:
    """The run's row, made if this is the first report of it."""
    moment = now()
    first = insert(SatelliteRun).values(
        launch_id=launch_id,
        instance=storable(instance),
        run=storable(run),
        reported_at=moment,
        first_heard_at=moment,
        heard_at=moment,
        sequence=0,
        satellite_version=0,
        version="",
        entries=[],
        dropped=0,
    )
    await session.execute(first.on_conflict_do_nothing())
    return await session.get_one(SatelliteRun, (launch_id, instance, run), with_for_update=True)


async def _own(session: AsyncSession, launch: Launch, served: Collection[int]) -> Own:
    """By the versions of its satellite: those that the gateway serves or served, and the newest ones, of which a
    bundle may be somewhere too."""
    newest = (
        select(SatelliteVersion.number)
        .where(SatelliteVersion.satellite_id == launch.satellite_id)
        .order_by(SatelliteVersion.number.desc())
        .limit(_MOST_VERSIONS)
    )
    query = (
        select(SatelliteVersion.entries, AcceptedKeys.keys)
        .join(AcceptedKeys, AcceptedKeys.digest == SatelliteVersion.keys)
        .where(
            SatelliteVersion.satellite_id == launch.satellite_id,
            or_(SatelliteVersion.number.in_(newest), SatelliteVersion.number.in_(served)),
        )
    )
    own = Own()
    for entries, keys in (await session.execute(query)).all():
        for stored in entries:
            entry = LaunchEntry.model_validate(stored)
            own.algorithms.add(entry.algorithm_id)
            own.vanity_urls.add(entry.vanity_url)
        own.accounts.update(keys.values())
    return own


async def _add_usage(
    session: AsyncSession, launch_id: UUID, counted: dict[tuple[datetime, str], list[float]]
) -> None:
    """Rows are locked in one order, whoever adds to them."""
    rows = [
        {
            "launch_id": launch_id,
            "hour": hour,
            "vanity_url": vanity_url,
            "calls": int(calls),
            "errors": int(errors),
            "seconds": seconds,
        }
        for (hour, vanity_url), (calls, errors, seconds) in sorted(counted.items())
    ]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        statement = insert(SatelliteUsage).values(rows[first : first + _ROWS_AT_ONCE])
        more = {
            name: getattr(SatelliteUsage, name) + statement.excluded[name] for name in ("calls", "errors", "seconds")
        }
        await session.execute(
            statement.on_conflict_do_update(index_elements=["launch_id", "hour", "vanity_url"], set_=more)
        )


def _call(record: CallRecord, launch_id: UUID, instance: str) -> dict[str, Any]:
    values = {**record.model_dump(), "gateway": instance, "launch_id": launch_id}
    return {name: storable(one) if isinstance(one, str) else one for name, one in values.items()}
