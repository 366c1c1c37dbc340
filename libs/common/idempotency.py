"""Writes that are asked twice are done once: the `Idempotency-Key` header.

The key, what was asked with it and the answer are a row of the transaction that did the work, so either all of it is
there or none (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

import orjson
from fastapi import Header
from sqlalchemy import CursorResult, String, delete, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from libs.common import db
from libs.common.problems import Unprocessable

KEEP = timedelta(hours=24)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        max_length=255,
        description="The same key again within a day does nothing and answers alike.",
    ),
]


class AnsweredColumns:
    """The columns of a service's table of answers."""

    actor: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what was asked."""
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(db.UtcDateTime, index=True)


async def once(
    session: AsyncSession,
    rows: type[Any],
    work: Callable[[], Awaitable[dict[str, Any]]],
    *,
    actor: str,
    key: str | None,
    asked: Any,
) -> dict[str, Any]:
    """The answer of `work`, or the one that it gave when it was asked with the same key before.

    Args:
        rows: the service's mapped class with :class:`AnsweredColumns`.
        actor: who asks; keys of others are others.
        asked: what is asked, as JSON: method, path and body.

    Raises:
        Unprocessable: the key was used for something else.
    """
    if key is None:
        return await work()
    fingerprint = hashlib.sha256(orjson.dumps(asked, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()
    lock = "select pg_advisory_xact_lock(hashtextextended(:name, 0))"
    await session.execute(text(lock), {"name": f"idempotency {actor} {key}"})
    known = await session.get(rows, (actor, key))
    if known is not None:
        if known.fingerprint != fingerprint:
            raise Unprocessable("this Idempotency-Key was used for another request; use a new one")
        return cast("dict[str, Any]", known.answer)
    answer = await work()
    session.add(
        rows(actor=actor, key=key, fingerprint=fingerprint, answer=orjson.loads(orjson.dumps(answer)), at=db.now())
    )
    await session.flush()
    return answer


async def purge(session: AsyncSession, rows: type[Any], now: datetime) -> int:
    """Forget what was asked more than a day ago; says how many."""
    gone = cast("CursorResult[Any]", await session.execute(delete(rows).where(rows.at < now - KEEP)))
    return gone.rowcount
