"""Several rows written by one statement: one journey to the database instead of one for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Column, CursorResult, Insert, Table, bindparam, inspect, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm.attributes import set_committed_value

Mapped = type[DeclarativeBase]


async def write(session: AsyncSession, *new: DeclarativeBase, unless_taken: bool = False) -> bool:
    """Write new rows, and with them what was changed in the rows that the session follows.

    New rows may refer to one another. Members that are not set get their column's default. The session does not
    follow them: what is changed in them later is not written.

    Args:
        new: one at least, of classes with one table each.
        unless_taken: leave out the last one, and no other, where another row has one of its unique values.

    Returns:
        Whether the last one was written.
    """
    if session.new or session.deleted or any(len(inspect(one).mapper.tables) > 1 for one in session.dirty):
        await session.flush()  # what is written here may refer to it
    changes = [(one, members) for one in session.dirty if (members := _changed(one))]
    values = {
        **{f"new{at}_{column.name}": _value(row, column) for at, row in enumerate(new) for column in _own(type(row))},
        **{f"old{at}_{name}": value for at, (_, members) in enumerate(changes) for name, value in members.items()},
    }
    statement = _statement(
        tuple(type(row) for row in new), tuple((type(one), tuple(members)) for one, members in changes), unless_taken
    )
    with session.no_autoflush:
        written = cast("CursorResult[Any]", await session.execute(statement, values))
    for one, members in changes:
        for name, value in members.items():
            set_committed_value(one, name, value)
    return bool(written.rowcount)


def _changed(one: DeclarativeBase) -> Mapping[str, Any]:
    """The key of a row, and its changed members; empty if none is."""
    state = inspect(one)
    members = {name: getattr(one, name) for name in sorted(state.committed_state)}
    if not members:
        return {}
    return {column.name: getattr(one, column.name) for column in state.mapper.primary_key} | members


@cache
def _statement(new: Sequence[Mapped], changed: Sequence[tuple[Mapped, Sequence[str]]], unless_taken: bool) -> Insert:
    """The insertion of the last row. All else are common table expressions of it: PostgreSQL runs each once, and
    checks foreign keys at the end."""
    *first, last = (
        insert(_table(one)).values(
            {column.name: bindparam(f"new{at}_{column.name}", type_=column.type) for column in _own(one)}
        )
        for at, one in enumerate(new)
    )
    others = [one.cte(f"new{at}") for at, one in enumerate(first)]
    for at, (one, names) in enumerate(changed):
        table = _table(one)
        values = {name: bindparam(f"old{at}_{name}", type_=table.c[name].type) for name in names}
        keys = [table.c[column.name] == values.pop(column.name) for column in table.primary_key]
        others.append(update(table).where(*keys).values(values).cte(f"old{at}"))
    return (last.on_conflict_do_nothing() if unless_taken else last).add_cte(*others)


@cache
def _own(one: Mapped) -> tuple[Column[Any], ...]:
    """The columns that the database does not fill in itself."""
    return tuple(column for column in _table(one).columns if column.identity is None)


def _table(one: Mapped) -> Table:
    return cast("Table", one.__table__)


def _value(row: DeclarativeBase, column: Column[Any]) -> Any:
    """The member's value; the default becomes it."""
    value, default = getattr(row, column.name), cast("Any", column.default)
    if value is None and default is not None:
        value = default.arg(None) if default.is_callable else default.arg
        setattr(row, column.name, value)
    return value
