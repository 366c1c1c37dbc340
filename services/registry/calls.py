"""Records of calls, as gateways announce them: kept for a while, read by administrators and as lists of errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from libs.common.contracts.events import CallsRecorded
from libs.common.db import Database, now
from libs.common.pages import Page
from libs.common.text import storable
from services.registry.models import Algorithm, Build, Call, Release
from services.registry.pages import Paging

LISTENER = "registry.calls"
ERRORS_DAYS = 7
ERRORS_LIMIT = 200
_ROWS_AT_ONCE = 1000
_CANDIDATES = 2000
"""Nested errors that are looked at for one list: its newest ones come from among them."""


@dataclass(frozen=True)
class CallError:
    call: Call
    algorithm: Algorithm | None
    version: str


class Calls:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def hear(self, news: CallsRecorded) -> None:
        """Keep a gateway's records, each once however often the message comes."""
        said = [{**record.model_dump(), "gateway": news.gateway} for record in news.records]
        rows = [
            {name: storable(one) if isinstance(one, str) else one for name, one in record.items()} for record in said
        ]
        async with self._database.transaction() as session:
            for first in range(0, len(rows), _ROWS_AT_ONCE):
                statement = insert(Call).values(rows[first : first + _ROWS_AT_ONCE])
                await session.execute(statement.on_conflict_do_nothing(index_elements=["request_id", "at"]))

    async def purge(self, days: int) -> None:
        """Forget calls that are older, in steps that each end soon."""
        limit = now() - timedelta(days=days)
        while True:
            old = select(Call.request_id, Call.at).where(Call.at < limit).limit(_ROWS_AT_ONCE * 10).subquery()
            statement = delete(Call).where(Call.request_id == old.c.request_id, Call.at == old.c.at)
            async with self._database.transaction() as session:
                done = await session.execute(statement.returning(Call.status))
                if len(done.all()) < _ROWS_AT_ONCE * 10:
                    return


async def entries(
    session: AsyncSession,
    paging: Paging,
    *,
    account: str | None,
    algorithm_id: UUID | None,
    launch_id: UUID | None,
    errors: bool,
    since: datetime | None,
) -> Page[Call]:
    """Calls, newest first, of those that are as asked for."""
    query = select(Call).order_by(Call.at.desc(), Call.request_id.desc()).limit(paging.limit + 1)
    if account is not None:
        query = query.where(Call.account == account)
    if algorithm_id is not None:
        query = query.where(Call.algorithm_id == algorithm_id)
    if launch_id is not None:
        query = query.where(Call.launch_id == launch_id)
    if errors:
        query = query.where(Call.error.is_not(None))
    if since is not None:
        query = query.where(Call.at >= since)
    if paging.after is not None:
        at, request_id = paging.after
        query = query.where(or_(Call.at < at, (Call.at == at) & (Call.request_id < request_id)))
    rows = (await session.execute(query)).scalars().all()
    return paging.page(rows, lambda call: (call.at, call.request_id))


async def errors_of_algorithm(session: AsyncSession, algorithm_id: UUID) -> list[CallError]:
    """Errors of its calls, and of the calls that it made: newest first, at most 200, of the last 7 days."""
    nested = await _request_ids_below(session, Call.algorithm_id == algorithm_id)
    return await _errors(session, or_(Call.algorithm_id == algorithm_id, Call.request_id.in_(nested)))


async def errors_of_account(session: AsyncSession, name: str) -> list[CallError]:
    """Errors of the calls that an account made, and of everybody's calls of what it owns."""
    owned = select(Algorithm.id).where(Algorithm.owner == name)
    return await _errors(session, or_(Call.account == name, Call.algorithm_id.in_(owned)))


async def _errors(session: AsyncSession, which: ColumnElement[bool]) -> list[CallError]:
    query = (
        select(Call, Algorithm, Build.commit, Release)
        .outerjoin(Algorithm, Algorithm.id == Call.algorithm_id)
        .outerjoin(Build, Build.id == Call.revision_id)
        .outerjoin(Release, Release.build_id == Call.revision_id)
        .where(Call.error.is_not(None), Call.at > _oldest(), which)
        .order_by(Call.at.desc(), Call.request_id)
        .limit(ERRORS_LIMIT)
    )
    found: Sequence[Any] = (await session.execute(query)).all()
    return [
        CallError(call, algorithm, release.semantic_version if release else commit or "")
        for call, algorithm, commit, release in found
    ]


async def _request_ids_below(session: AsyncSession, which: ColumnElement[bool]) -> Sequence[str]:
    """Failed calls that were made, directly or through others, by calls that `which` selects."""
    newest = (
        select(Call.request_id.label("failed"), Call.parent.label("above"))
        .where(Call.error.is_not(None), Call.parent.is_not(None), Call.at > _oldest())
        .order_by(Call.at.desc())
        .limit(_CANDIDATES)
        .subquery()
    )
    chain = select(newest.c.failed, newest.c.above).cte("chain", recursive=True)
    parent = aliased(Call)
    chain = chain.union(
        select(chain.c.failed, parent.parent)
        .join(parent, parent.request_id == chain.c.above)
        .where(parent.parent.is_not(None))
    )
    query = select(chain.c.failed).join(Call, Call.request_id == chain.c.above).where(which).distinct()
    return (await session.execute(query)).scalars().all()


def _oldest() -> datetime:
    return now() - timedelta(days=ERRORS_DAYS)
