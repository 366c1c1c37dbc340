"""Clusters on which tests may launch: the double, always; and a real one, where KUBECONFIG names it.

CONSTELLATION_TEST_CONTEXT        the kubeconfig's context; its current one by default
CONSTELLATION_TEST_INGRESS_CLASS  for the Ingress objects

Its pods: `stand_ins.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from services.deployer.kubernetes.access import Access
from services.deployer.kubernetes.cluster import Cluster, connect
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.satellite import Site
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble
from tests.support.kubernetes.controllers import Outcome
from tests.support.kubernetes.stand_ins import PYTHON, StandIn, that_runs

REAL_SECONDS = 600.0


@dataclass(frozen=True)
class Place:
    """A namespace of a cluster."""

    cluster: Cluster
    namespace: str
    patience: float
    """Seconds for what a cluster does."""
    stand_in: StandIn = PYTHON
    double: KubernetesDouble | None = None
    """None for a real cluster."""

    @property
    def site(self) -> Site:
        ingress_class = os.environ.get("CONSTELLATION_TEST_INGRESS_CLASS") if self.double is None else None
        return Site(self.namespace, fqdn=f"{self.namespace}.test", ingress_class=ingress_class, drain_seconds=5)

    def manager(self) -> KubernetesManager:
        """As another process would have one."""
        return KubernetesManager(self.cluster, self.site, render=self.stand_in.render)


def new_namespace() -> str:
    return f"constellation-test-{uuid4().hex[:8]}"


def unpullable() -> Outcome:
    """What the double makes of an image that is nowhere."""
    return Outcome(pull_error="failed to resolve reference: no such host")


def real() -> Access:
    """The real cluster. Without one, the test is skipped."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if not named:
        pytest.skip("NOT TRIED ON A REAL CLUSTER: KUBECONFIG names none")
    return Access("real", Path(named), os.environ.get("CONSTELLATION_TEST_CONTEXT"))


@asynccontextmanager
async def place(kind: str, folder: Path) -> AsyncIterator[Place]:
    """A namespace of a name of its own, in a `double` or a `cluster`. It is removed in the end.

    A test of a real cluster is skipped where KUBECONFIG names none.
    """
    namespace = new_namespace()
    if kind == "double":
        async with (
            KubernetesDouble().serve() as double,
            connect(Access("double", double.kubeconfig(folder / "kubeconfig"))) as cluster,
        ):
            yield Place(cluster, namespace, 60.0, double=double)
        return
    async with connect(access := real()) as cluster:
        stand_in = await that_runs(access, cluster)
        async with removed_in_the_end(cluster, namespace):
            yield Place(cluster, namespace, REAL_SECONDS, stand_in)


@asynccontextmanager
async def removed_in_the_end(cluster: Cluster, namespace: str) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await cluster.delete("Namespace", namespace)
        await eventually(lambda: _gone(cluster, namespace), REAL_SECONDS, every=1.0)


async def _gone(cluster: Cluster, namespace: str) -> bool:
    return await cluster.get("Namespace", namespace) is None
