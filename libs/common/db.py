"""PostgreSQL: one schema and one Alembic history per service, a session per request, migrations under a lock.

Nobody calls `commit()` in a use case: the boundary does (`request_session`, or `Database.transaction` in a loop),
and what must happen only after a commit (waking a loop, sending a hint) is queued with `after_commit`.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any

from alembic import command, context
from alembic.config import Config
from fastapi import Depends, Request
from sqlalchemy import Connection, DateTime, MetaData, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from libs.common import logs

log = logs.get(__name__)

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_REST_SECONDS = 1.0
_RESTS_SINCE = "rests since"

Moment = Callable[[AsyncSession], Awaitable[datetime]]
AfterCommit = Callable[[], Awaitable[None] | None]


def metadata() -> MetaData:
    """Metadata of one service's tables. Tables name no schema: the connection's search path does."""
    return MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime does not say which moment it means")
        return value

    def process_result_value(self, value: datetime | None, _: Any) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None


class Database:
    """One service's door to its schema."""

    def __init__(self, url: str, schema: str, *, pool_size: int = 5) -> None:
        self.schema = schema
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            hide_parameters=True,
            connect_args={
                "timeout": 10,
                "command_timeout": 60,
                "server_settings": {"search_path": schema, "application_name": f"constellation {schema}"},
            },
        )
        event.listen(self.engine.sync_engine, "checkin", _note_rest)
        event.listen(self.engine.sync_engine, "checkout", self._check_alive)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session in one transaction: committed at the end, rolled back on an error, then its hooks run."""
        async with self._sessions() as session:
            async with session.begin():
                yield session
            await _run_hooks(session)

    async def ping(self) -> None:
        """Raises when the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def migrate(self, package: str) -> None:
        """Bring the schema up to the newest revision in `package` (such as ``services.fakts.migrations``).

        Safe to run from several hosts at once: one migrates, the others wait for it. A statement that
        cannot get its table lock within 10 s fails instead of queueing every reader behind it.
        """
        async with self.engine.connect() as connection:
            lock = {"name": f"constellation-migrate-{self.schema}"}
            await connection.execute(text("select pg_advisory_lock(hashtext(:name))"), lock)
            await connection.execute(text(f'create schema if not exists "{self.schema}"'))
            await connection.execute(text("set lock_timeout = '10s'"))
            await connection.commit()
            try:
                await connection.run_sync(_upgrade, package)
                await connection.commit()
            finally:
                await connection.execute(text("select pg_advisory_unlock(hashtext(:name))"), lock)
                await connection.execute(text("reset lock_timeout"))
                await connection.commit()

    async def close(self) -> None:
        await self.engine.dispose()

    def _check_alive(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        """A connection of the pool that was lost is replaced before anybody uses it, and so are all older ones.

        One that the server ended is known to be closed. Only one that rested for a while is asked: it may have been
        lost without a word. Asking each time would cost as much as most questions do.
        """
        rested = time.monotonic() - record.info.get(_RESTS_SINCE, math.inf)
        driver: Any = record.driver_connection
        if driver.is_closed():
            raise InvalidatePoolError
        if rested > _REST_SECONDS:
            dialect = self.engine.sync_engine.dialect
            try:
                dialect.do_ping(connection)
            except dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error


def _note_rest(_: object, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS_SINCE] = time.monotonic()


def after_commit(session: AsyncSession, hook: AfterCommit) -> None:
    """Run `hook` once the session's transaction is committed, and not at all when it is rolled back.

    A failure of a hook is logged, never raised: the rows are committed and a loop repairs what the hook missed.
    """
    session.info.setdefault("after_commit", []).append(hook)


async def _run_hooks(session: AsyncSession) -> None:
    for hook in session.info.pop("after_commit", ()):
        try:
            if (pending := hook()) is not None:
                await pending
        except Exception:
            log.warning("after_commit_hook_failed", exc_info=True)


async def request_session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.transaction() as session:
        yield session


Session = Annotated[AsyncSession, Depends(request_session, scope="function")]
"""The session of a request. It is committed before the answer leaves, so a failed commit is an error answer."""


def run_migrations(base: type[DeclarativeBase]) -> None:
    """The body of every service's `migrations/env.py`: migrate on the connection that `Database.migrate` holds."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def alembic_config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files(package)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, package: str) -> None:
    config = alembic_config(package)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def moment(session: AsyncSession) -> datetime:
    """This moment by the clock of the database, which is one for all hosts."""
    return (await session.execute(select(func.clock_timestamp(type_=UtcDateTime)))).scalar_one()


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC)
