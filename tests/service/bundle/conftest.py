"""A bundle in its folder, a registry and a cluster to take it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from constellation.api import Api
from constellation.bundle import download
from constellation.bundle.folder import BundleFolder
from tests.support.bundles import LAUNCH, SATELLITE, Mothership
from tests.support.docker_registry import DockerRegistry
from tests.support.kubernetes import KubernetesDouble


class Site:
    """Somewhere else: a bundle was brought there."""

    def __init__(self, mothership: Mothership, folder: BundleFolder) -> None:
        self.mothership = mothership
        self.folder = folder

    async def get(self, version: int = 1, **offered: object) -> None:
        await self.mothership.offer(version, **offered)  # type: ignore[arg-type] # as that says
        with Api("http://mothership", "key", transport=self.mothership) as api, self.folder.locked(make=True):
            download.get(
                api, self.folder, str(SATELLITE), str(LAUNCH), trusted=None, seconds=60.0, say=lambda _: None
            )


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    found = Site(Mothership(tmp_path / "store"), BundleFolder(tmp_path / "folder"))
    await found.get()
    return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
async def cluster() -> AsyncIterator[KubernetesDouble]:
    async with KubernetesDouble().serve() as double:
        yield double
