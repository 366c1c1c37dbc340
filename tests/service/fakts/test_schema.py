"""The schema that the migrations make is the one that the code means."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from libs.common.db import Database, alembic_config
from services.fakts.app import MIGRATIONS, SCHEMA
from services.fakts.models import Base


async def test_the_migrated_schema_is_that_of_the_models(fakts_url: str) -> None:
    database = Database(fakts_url, SCHEMA)

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_migrating_twice_changes_nothing_and_the_way_back_leaves_no_table(fakts_url: str) -> None:
    database = Database(fakts_url, SCHEMA)
    await database.migrate(MIGRATIONS)

    def down(connection: Connection) -> list[str]:
        config = alembic_config(MIGRATIONS)
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        return inspect(connection).get_table_names()

    async with database.engine.connect() as connection:
        assert await connection.run_sync(down) == ["alembic_version"]
    await database.close()
