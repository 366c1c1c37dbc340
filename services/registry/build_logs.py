"""Logs of builds: chunks in order of arrival, at most a certain amount per build."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.builds import BuildLog
from libs.common.problems import Invalid
from libs.common.text import storable
from services.registry.models import Build, BuildLogChunk

READ_LIMIT = 1 << 20


@dataclass(frozen=True)
class LogPart:
    offset: int
    text: str

    @property
    def next_offset(self) -> int:
        return self.offset + len(self.text)


def receive(session: AsyncSession, build: Build, log: BuildLog, *, limit: int) -> None:
    """Add what the worker that has the build sends. A repeated piece adds nothing.

    Raises Invalid when something before this piece is missing.
    """
    if log.offset > build.log_received:
        raise Invalid(f"{build.log_received} characters of log are here; send from there on, not from {log.offset}")
    new = log.text[build.log_received - log.offset :]
    build.log_received += len(new)
    append(session, build, new, limit=limit)


def append(session: AsyncSession, build: Build, text: str, *, limit: int) -> None:
    """Add text to the log. What goes beyond `limit` characters is dropped, and said to be once."""
    if not text or build.log_full:
        return
    kept = storable(text[: limit - build.log_length])
    if len(kept) < len(text):
        build.log_full = True
        kept += f"\n[the log is cut here: at most {limit} characters are kept]\n"
    session.add(BuildLogChunk(build_id=build.id, start=build.log_length, text=kept))
    build.log_length += len(kept)


async def read(session: AsyncSession, build_id: UUID, offset: int, *, limit: int = READ_LIMIT) -> LogPart:
    """At least something of the log from `offset` on where there is more, and about `limit` characters at most."""
    end = BuildLogChunk.start + func.char_length(BuildLogChunk.text)
    query = (
        select(BuildLogChunk)
        .where(BuildLogChunk.build_id == build_id, end > offset, BuildLogChunk.start < offset + limit)
        .order_by(BuildLogChunk.start)
    )
    chunks = (await session.execute(query)).scalars().all()
    text = "".join(chunk.text for chunk in chunks)
    skip = offset - chunks[0].start if chunks else 0
    return LogPart(offset, text[max(skip, 0) :])


async def whole(session: AsyncSession, build_id: UUID) -> str:
    query = select(BuildLogChunk.text).where(BuildLogChunk.build_id == build_id).order_by(BuildLogChunk.start)
    return "".join((await session.execute(query)).scalars().all())


async def tail(session: AsyncSession, build: Build, characters: int) -> str:
    """The end of the log."""
    return (await read(session, build.id, max(0, build.log_length - characters))).text
