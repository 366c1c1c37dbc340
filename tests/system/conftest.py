"""The deployments that system tests run on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, Separate, Up
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ


@pytest.fixture(scope="module", params=["up", "separate"])
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One running platform for a module's tests, once in each way of running it."""
    folder = tmp_path_factory.mktemp(request.param, numbered=True)
    if request.param == "up":
        with Up(folder) as running:
            yield running
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq")
    database = asyncio.run(postgres.create_database())
    with Separate(folder, database_url=database, bus_url=rabbitmq.url) as running:
        yield running
