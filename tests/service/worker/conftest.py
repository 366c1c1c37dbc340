"""Fixtures around real replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.replica import environment_with


@pytest.fixture(scope="session")
def environments(pytestconfig: pytest.Config) -> Path:
    """Where virtual environments for algorithms are kept between sessions."""
    return Path(pytestconfig.cache.mkdir("algorithm-environments")) if pytestconfig.cache else Path("/nonexistent")


@pytest.fixture(scope="session", params=["algorithmia==2.0.5", "algorithmia==1.17.0 six"])
def published(request: pytest.FixtureRequest, environments: Path) -> Path:
    """An interpreter with a published client and its ADK, each generation in turn."""
    return environment_with(environments, request.param.split())


@pytest.fixture(scope="session")
def old_client(environments: Path) -> Path:
    return environment_with(environments, ["algorithmia==1.17.0", "six"])
