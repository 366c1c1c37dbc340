"""Fixtures around a double of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Cluster, connect
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.satellite import Site
from tests.support.kubernetes import KubernetesDouble


@pytest.fixture
async def double() -> AsyncIterator[KubernetesDouble]:
    async with KubernetesDouble().serve() as double:
        yield double


@pytest.fixture
async def cluster(double: KubernetesDouble, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with connect(Access("double", double.kubeconfig(tmp_path / "config"))) as cluster:
        yield cluster


@pytest.fixture
def manager(cluster: Cluster) -> KubernetesManager:
    return KubernetesManager(cluster, Site("sat", fqdn="edge.example.com"))
