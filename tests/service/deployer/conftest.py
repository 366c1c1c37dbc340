"""Fixtures of the deployer's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.deployer.world import HISTORY, Clock, World, deployer_on
from tests.support.postgres import Postgres


@pytest.fixture
async def deployer_url(postgres: Postgres) -> AsyncIterator[str]:
    """A new database with the deployer's tables."""
    url = await postgres.create_database(HISTORY)
    yield url
    await postgres.drop_database(url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(deployer_url: str, clock: Clock) -> AsyncIterator[World]:
    """A deployer with nothing in its catalog and no workers."""
    async with deployer_on(deployer_url, clock) as deployer:
        yield World(deployer, [], clock)
