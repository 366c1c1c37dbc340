"""Fixtures of fakts' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.fakts.app import MIGRATIONS, SCHEMA
from services.fakts.settings import FaktsSettings
from tests.service.fakts.running import RunningFakts, running, settings_for
from tests.support.postgres import Postgres


@pytest.fixture
async def fakts_url(postgres: Postgres) -> AsyncIterator[str]:
    """A database of its own with fakts' tables."""
    url = await postgres.create_database((SCHEMA, MIGRATIONS))
    yield url
    await postgres.drop_database(url)


@pytest.fixture
def settings(fakts_url: str, tmp_path: Path) -> FaktsSettings:
    return settings_for(fakts_url, tmp_path)


@pytest.fixture
async def fakts(settings: FaktsSettings) -> AsyncIterator[RunningFakts]:
    async with running(settings) as started:
        yield started
