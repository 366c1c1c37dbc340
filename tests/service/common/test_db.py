"""Transactions, hooks and outages on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, StatementError

from libs.common import db, web
from libs.common.auth import public
from libs.common.db import Database, Session, after_commit, now
from tests.service.common.tables import Job, Moment, sample_database
from tests.support.eventually import eventually
from tests.support.postgres import Postgres


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with sample_database(database_url) as found:
        yield found


async def jobs(database: Database) -> int:
    async with database.transaction() as session:
        return (await session.execute(select(func.count()).select_from(Job))).scalar_one()


async def test_a_transaction_is_committed_whole_and_then_its_hooks_run_in_order(database: Database) -> None:
    told: list[object] = []

    async def tell() -> None:
        told.append(await jobs(database))

    async with database.transaction() as session:
        session.add(Job(id=1))
        after_commit(session, tell)
        after_commit(session, lambda: told.append("second"))
        await session.flush()
        assert told == []
    assert told == [1, "second"]


async def test_a_transaction_that_fails_leaves_nothing_and_tells_nobody(database: Database) -> None:
    told: list[int] = []

    async def fail() -> None:
        async with database.transaction() as session:
            session.add(Job(id=1))
            after_commit(session, lambda: told.append(1))
            await session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert told == []
    assert await jobs(database) == 0


async def test_a_hook_that_fails_keeps_no_other_from_running(database: Database) -> None:
    told: list[int] = []

    async def fails() -> None:
        raise OSError("no broker")

    async with database.transaction() as session:
        session.add(Job(id=1))
        after_commit(session, fails)
        after_commit(session, lambda: told.append(1))
    assert told == [1]
    assert await jobs(database) == 1


async def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    east = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=3)))
    async with database.transaction() as session:
        session.add(Moment(id=1, at=east))
    async with database.transaction() as session:
        found = (await session.get_one(Moment, 1)).at
    assert found == east
    assert found.tzinfo is UTC


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="naive"):
        async with database.transaction() as session:
            session.add(Moment(id=1, at=datetime(2026, 1, 1)))


def test_now_is_aware() -> None:
    assert now().tzinfo is UTC


async def test_two_services_in_one_database_do_not_see_each_others_tables(
    database_url: str, database: Database
) -> None:
    other = Database(database_url, "other")
    with pytest.raises(DBAPIError, match="jobs"):
        async with other.transaction() as session:
            await session.execute(select(Job.id))
    await other.close()


VALUES: dict[str, Any] = {
    "integer": 1 << 31,
    "bigint": 1 << 63,
    "timestamptz": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    "text": "a\x00b",
    "varchar": "\ud800",
    "jsonb": '"\\u0000"',
}
"""What PostgreSQL does not take, by the type that it is to be."""


@asynccontextmanager
async def serving(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A service with one route that writes, and one whose commit fails."""
    routes = web.router(public)

    @routes.post("/jobs/{number}")
    async def add(number: int, session: Session) -> dict[str, int]:
        session.add(Job(id=number))
        return {"id": number}

    @routes.post("/orphans/{number}")
    async def add_orphan(number: int, session: Session) -> dict[str, int]:
        session.add(Moment(id=number, at=now(), owner_id=404))
        return {"id": number}

    @routes.post("/values/{kind}")
    async def keep(kind: str, session: Session) -> None:
        await session.execute(text(f"select cast(:value as {kind})"), {"value": VALUES[kind]})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = web.create_app("sample", lifespan=lifespan, routers=(routes,))
    app.state.database = database
    app.state.checks["database"] = database.ping
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sample") as client:
        yield client


async def test_what_a_request_wrote_is_committed_before_its_answer(database: Database) -> None:
    async with serving(database) as client:
        assert (await client.post("/jobs/7")).status_code == 200
    assert await jobs(database) == 1


async def test_a_commit_that_fails_is_an_error_answer(database: Database) -> None:
    async with serving(database) as client:
        answer = await client.post("/orphans/1")
    assert answer.status_code == 500
    assert "owner" not in answer.text, "what is wrong inside is not told"


@pytest.mark.parametrize("kind", ["integer", "bigint", "timestamptz", "text", "jsonb", "varchar"])
async def test_a_value_that_the_database_does_not_take_is_the_askers_fault(database: Database, kind: str) -> None:
    async with serving(database) as client:
        answer = await client.post(f"/values/{kind}")
    assert answer.status_code == 400
    assert "beyond what can be kept" in answer.json()["detail"]


async def test_without_its_database_a_service_says_so_and_recovers(external_postgres: Postgres) -> None:
    async with sample_database(external_postgres.url) as database, serving(database) as client:
        assert (await client.post("/jobs/1")).status_code == 200
        await asyncio.to_thread(external_postgres.kill)
        answer = await client.post("/jobs/2")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/readyz")).json()["status"] == "unready"
        assert (await client.get("/healthz")).status_code == 200
        await asyncio.to_thread(external_postgres.start)
        assert (await client.post("/jobs/3")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert await jobs(database) == 2


async def _own_process(database: Database) -> int:
    async with database.transaction() as session:
        return int((await session.execute(text("select pg_backend_pid()"))).scalar_one())


@pytest.mark.parametrize("rested", [False, True])
async def test_connections_that_were_lost_meanwhile_are_replaced_before_anybody_gets_one(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, rested: bool
) -> None:
    if rested:
        monkeypatch.setattr(db, "_REST_SECONDS", -1.0)
    first = await _own_process(database)
    assert await _own_process(database) == first
    async with sample_database(database_url) as other:
        async with other.transaction() as session:
            await session.execute(text("select pg_terminate_backend(:process)"), {"process": first})

        async def gone() -> bool:
            alive = text("select count(*) from pg_stat_activity where pid = :process")
            async with other.transaction() as session:
                return bool((await session.execute(alive, {"process": first})).scalar_one() == 0)

        await eventually(gone)
    assert await _own_process(database) != first


async def test_a_connection_that_rested_is_asked_and_one_that_did_not_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    dialect = database.engine.sync_engine.dialect
    monkeypatch.setattr(dialect, "do_ping", asked.append)
    first = await _own_process(database)
    monkeypatch.setattr(db, "_REST_SECONDS", 3600.0)
    assert await _own_process(database) == first
    assert asked == []
    monkeypatch.setattr(db, "_REST_SECONDS", -1.0)
    assert await _own_process(database) == first
    assert len(asked) == 1


async def test_a_rested_connection_that_does_not_answer_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = database.engine.sync_engine.dialect

    def silent(_: object) -> None:
        raise dialect.loaded_dbapi.OperationalError("no answer")

    first = await _own_process(database)
    monkeypatch.setattr(db, "_REST_SECONDS", -1.0)
    monkeypatch.setattr(dialect, "do_ping", silent)
    assert await _own_process(database) != first
