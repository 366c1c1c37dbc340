"""Many apps and people at once: everybody gets what is theirs, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from services.fakts.models import Login, Organization, RefreshToken, User
from tests.service.fakts.logging_in import bearer, claims_of, poll, refreshed, refusal, start
from tests.service.fakts.running import RunningFakts, running, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPS, PEOPLE, SERVICES = 200, 20, 5
"""Each person lets ten apps in: half of them in an organization, half for themselves alone."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    many: dict[str, Any] = dict.fromkeys(("token_requests_per_minute", "starts_per_minute"), 100_000)
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **many) as started:
        yield started


async def person(fakts: RunningFakts, number: int) -> tuple[str, dict[str, str]]:
    """A new user who owns an organization: their id, and their authorization."""
    name = f"person-{number}"
    user = await fakts.user(name)
    key = await fakts.key(name, "manage_apps", admin=False)
    return user["id"], bearer(key)


async def test_a_crowd_logs_in_and_everybody_gets_their_own_login_once(fakts: RunningFakts) -> None:
    pass
