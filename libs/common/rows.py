"""Several rows written by one statement: one journey to the database instead of one for each row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import CursorResult, Insert, Table, bindparam, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm.attributes import set_committed_value

Class = type[DeclarativeBase]
Changes = Mapping[DeclarativeBase, Mapping[str, Any]]


async def write(
    session: AsyncSession, *new: DeclarativeBase, changes: Changes | None = None, unless_taken: bool = False
) -> bool:
    """Write new rows, which may refer to one another, and change others with them.

    Members that are not set get their column's default. The session does not follow the new rows: what is changed
    in them later is not written.

    Args:
        new: one at least, of classes with one table each.
        changes: new values of members of rows that the session follows.
        unless_taken: leave out the last new row, and no other, where another has one of its unique values.

    Returns:
        Whether the last new row was written.
    """
    if session.new:
        await session.flush()  # the rows here may refer to those
    changes = changes or {}
    values = {f"new{at}_{one.name}": _value(row, one) for at, row in enumerate(new) for one in _members(type(row))}
    for at, (row, changed) in enumerate(changes.items()):
        values |= {f"old{at}_{one.name}": getattr(row, one.name) for one in _members(type(row)) if one.is_key}
        values |= {f"old{at}_{name}": value for name, value in changed.items()}
    statement = _statement(
        tuple(type(row) for row in new),
        tuple((type(row), tuple(changed)) for row, changed in changes.items()),
        unless_taken,
    )
    with session.no_autoflush:
        written = cast("CursorResult[Any]", await session.execute(statement, values))
    for row, changed in changes.items():
        for name, value in changed.items():
            set_committed_value(row, name, value)
    return bool(written.rowcount)


@cache
def _statement(
    new: tuple[Class, ...], changed: tuple[tuple[Class, tuple[str, ...]], ...], unless_taken: bool
) -> Insert:
    """The insertion of the last row. All else are common table expressions of it: PostgreSQL runs each once, and
    checks foreign keys at the end."""
    *first, last = (
        insert(table).values(
            {c.name: bindparam(f"new{at}_{c.name}", type_=c.type) for c in table.c if not c.identity}
        )
        for at, table in enumerate(map(_table, new))
    )
    others = [one.cte(f"new{at}") for at, one in enumerate(first)]
    for at, (one, names) in enumerate(changed):
        table = _table(one)
        values = {name: bindparam(f"old{at}_{name}", type_=table.c[name].type) for name in names}
        which = [c == bindparam(f"old{at}_{c.name}", type_=c.type) for c in table.primary_key]
        others.append(update(table).where(*which).values(values).cte(f"old{at}"))
    return (last.on_conflict_do_nothing() if unless_taken else last).add_cte(*others)


class _Member(NamedTuple):
    name: str
    is_key: bool
    default: Any
    """SQLAlchemy's, or None."""


@cache
def _members(one: Class) -> tuple[_Member, ...]:
    """Those that the database does not fill in itself."""
    return tuple(_Member(c.name, c.primary_key, c.default) for c in _table(one).columns if c.identity is None)


def _table(one: Class) -> Table:
    return cast("Table", one.__table__)


def _value(row: DeclarativeBase, member: _Member) -> Any:
    """The member's value; the default becomes it."""
    value, default = row.__dict__.get(member.name), member.default
    if value is None and default is not None:
        value = default.arg(None) if default.is_callable else default.arg
        setattr(row, member.name, value)
    return value
