"""The Alembic history makes the tables that the models describe."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from libs.common.db import Database
from services.registry.models import Base


async def test_models_and_history_agree(database_url: str) -> None:
    database = Database(database_url, "registry")
    try:
        await database.migrate("services.registry.migrations")
        await database.migrate("services.registry.migrations")
        async with database.engine.connect() as connection:
            assert await connection.run_sync(_differences) == []
    finally:
        await database.close()


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    found = compare_metadata(context, Base.metadata)
    return [one for one in found if "alembic_version" not in str(one)]
