"""Several rows by one statement, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError

from libs.common import rows
from libs.common.db import Database
from tests.service.common.tables import Owner, Part, sample_database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with sample_database(database_url) as found:
        yield found


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Those that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def codes(database: Database) -> list[str]:
    async with database.transaction() as session:
        return list(await session.scalars(select(Part.code).order_by(Part.code)))


async def test_new_rows_that_refer_to_one_another_and_changes_are_one_statement(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Owner(id=1))
        await session.flush()
        session.add(Part(owner_id=1, code="old", note="kept"))
    async with database.transaction() as session:
        old = (await session.scalars(select(Part))).one()
        new = Part(owner_id=2, code="new")
        with statements(database) as sent:
            assert await rows.write(session, new, Owner(id=2), changes={old: {"state": "changed", "owner_id": 2}})
        assert len(sent) == 1
        assert (new.state, old.state, old.owner_id) == ("new", "changed", 2)
        assert not session.dirty
    async with database.transaction() as session:
        found = {part.code: part for part in await session.scalars(select(Part))}
        assert {code: (part.state, part.owner_id, part.note) for code, part in found.items()} == {
            "old": ("changed", 2, "kept"),
            "new": ("new", 2, None),
        }
        assert (found["new"].id, found["new"].made_at) == (new.id, new.made_at)
        assert found["new"].number > found["old"].number


async def test_rows_wait_for_what_the_session_still_has_to_write(database: Database) -> None:
    async with database.transaction() as session:
        session.add(Owner(id=1))
        assert await rows.write(session, Part(owner_id=1, code="a"))
    assert await codes(database) == ["a"]


async def test_all_rows_are_written_or_none(database: Database) -> None:
    async def write(code: str, owner: int) -> None:
        async with database.transaction() as session:
            await rows.write(session, Owner(id=1), Part(owner_id=owner, code=code))

    with pytest.raises(IntegrityError):
        await write("a", owner=7)
    assert await codes(database) == []
    await write("a", owner=1)
    with pytest.raises(IntegrityError):
        await write("b", owner=1)  # whose owner is there already
    assert await codes(database) == ["a"]


async def test_only_the_last_row_is_left_out_where_its_value_is_taken(database: Database) -> None:
    async with database.transaction() as session:
        assert await rows.write(session, Owner(id=1), Part(owner_id=1, code="a"), unless_taken=True)
    async with database.transaction() as session:
        taken = Part(owner_id=2, code="a")
        assert not await rows.write(session, Owner(id=2), taken, unless_taken=True)
        taken.code = "b"
        assert await rows.write(session, taken, unless_taken=True)
    assert await codes(database) == ["a", "b"]
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Owner)) == 2
