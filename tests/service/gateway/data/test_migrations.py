from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from libs.common.db import Database
from services.gateway.data.hosted import SCHEMA
from services.gateway.models import Base


def _drift(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [found for found in compare_metadata(context, Base.metadata) if "alembic_version" not in str(found)]


async def test_the_migrated_schema_is_that_of_the_models(index_url: str) -> None:
    database = Database(index_url, SCHEMA)
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_drift) == []
    await database.close()
