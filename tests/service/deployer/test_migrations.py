from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from libs.common.db import Database
from services.deployer.models import Base
from tests.service.deployer.world import HISTORY


def _drift(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [found for found in compare_metadata(context, Base.metadata) if "alembic_version" not in str(found)]


async def test_the_migrated_schema_is_that_of_the_models(deployer_url: str) -> None:
    database = Database(deployer_url, HISTORY[0])
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_drift) == []
    await database.close()


async def test_several_hosts_may_migrate_at_once(database_url: str) -> None:
    hosts = [Database(database_url, HISTORY[0]) for _ in range(3)]
    await asyncio.gather(*(host.migrate(HISTORY[1]) for host in hosts))
    async with hosts[0].transaction() as session:
        assert (await session.execute(text("select count(*) from replicas"))).scalar_one() == 0
    for host in hosts:
        await host.close()
