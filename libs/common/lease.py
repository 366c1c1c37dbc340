"""Leases on rows: who works on a row now, and until when.

A row with the columns of :class:`Leased` is free when `lease_until` is null or past. Whoever takes it writes a
fresh token; everything it later writes is guarded by that token, so that a holder that lost its lease changes
nothing. No session stays open while the work is done.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, String, or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from libs.common.db import UtcDateTime


class LeaseLost(Exception):
    """Somebody else has the row now, or it is gone: drop the work."""


class Leased:
    """Columns of a row that one holder at a time works on."""

    lease_token: Mapped[str | None] = mapped_column(String(64), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None, index=True)


def free(row: type[Leased], at: datetime) -> Any:
    """SQL condition: nobody holds a lease on the row at that time."""
    return or_(row.lease_until.is_(None), row.lease_until < at)


def new_token() -> str:
    return secrets.token_hex(16)


async def renew(
    session: AsyncSession, row: type[Any], row_id: object, token: str, *, at: datetime, seconds: float
) -> None:
    """Hold the lease for `seconds` from `at`. Raises LeaseLost when `token` does not hold it."""
    await _guarded(session, row, row_id, token, lease_until=at + timedelta(seconds=seconds))


async def release(session: AsyncSession, row: type[Any], row_id: object, token: str) -> None:
    """Give the row back. Raises LeaseLost when `token` does not hold it."""
    await _guarded(session, row, row_id, token, lease_token=None, lease_until=None)


async def _guarded(session: AsyncSession, row: type[Any], row_id: object, token: str, **values: object) -> None:
    statement = update(row).where(row.id == row_id, row.lease_token == token).values(**values)
    done = await session.execute(statement)
    assert isinstance(done, CursorResult)  # noqa: S101 - an update always has one
    if done.rowcount == 0:
        raise LeaseLost(f"the lease on {row.__name__} {row_id} is held by somebody else")
