from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.service.gateway.conftest import SECRET, Platform
from tests.service.gateway.data.world import HISTORY, Hosted
from tests.support.postgres import Postgres


@pytest.fixture
async def index_url(postgres: Postgres) -> AsyncIterator[str]:
    """A new database with the gateway's tables."""
    url = await postgres.create_database(HISTORY)
    yield url
    await postgres.drop_database(url)


@pytest.fixture
async def hosted(surroundings: Platform, index_url: str, tmp_path: Path) -> AsyncIterator[Hosted]:
    """A platform whose gateway has hosted data, and lists it three at a time."""
    folder = tmp_path / "blobs"
    surroundings.fakts.configure(
        "gateway", call_token_secret=SECRET, database_url=index_url, blob_url=folder.as_uri()
    )
    await surroundings.start(max_file_bytes=3 << 20, data_page=3)
    async with httpx.AsyncClient(timeout=60) as http:
        yield Hosted(surroundings, http, folder)
