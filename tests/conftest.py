"""Fixtures that tests of several parts use. What they start is private to the run: own ports, own directories."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.docker import Docker, DockerUnavailable, python_root
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

hypothesis.settings.register_profile(
    "constellation",
    deadline=None,  # how long an example takes says how busy the machine is
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("constellation")

_CRASHED = pytest.StashKey[bool]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with few tests that take long come first: at the end of a run, nobody waits for the last of them."""
    items.sort(key=lambda item: "tests/system/" not in item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A process of pytest-xdist has ended: with an error when it died, and what it should have run may be left."""
    if error:
        node.config.stash[_CRASHED] = True


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how the run ended, beside the names of what failed: `.ci/failed.py` reads both."""
    config = session.config
    if not hasattr(config, "workerinput") and config.cache is not None:
        crashed = config.stash.get(_CRASHED, False)
        config.cache.set("constellation/exit_status", int(pytest.ExitCode.INTERNAL_ERROR if crashed else exitstatus))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole run. Tests take databases of their own from it."""
    with Postgres() as server:
        yield server


@pytest.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """The URL of a new, empty database."""
    url = await postgres.create_database()
    yield url
    await postgres.drop_database(url)


@pytest.fixture
def external_postgres() -> Iterator[Postgres]:
    """A server of the test's own, which it may stop, kill and start again."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A private RabbitMQ node. A test that stops it starts it again."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq") / "node") as node:
        yield node


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A private Docker engine; tests that need it are skipped where none can be had."""
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as folder:
        engine = Docker(Path(folder) / "engine")
        try:
            engine.start()
        except DockerUnavailable as unavailable:
            engine.close()
            pytest.skip(f"no Docker engine: {unavailable}")
        with contextlib.closing(engine):
            yield engine


@pytest.fixture(scope="session")
def python_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small base image with this machine's Python, as a tar archive."""
    return python_root(tmp_path_factory.mktemp("base") / "root.tar")


@pytest.fixture(scope="session")
def python_image(docker: Docker, python_archive: Path) -> str:
    """The reference of an image in the Docker engine that has Python and a shell, nothing else."""
    docker.run("import", "--change", 'CMD ["python3"]', str(python_archive), "constellation-test/python:base")
    return "constellation-test/python:base"
