"""Versions of one launch, and how they come up, for tests of its manager."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.satellite import Satellite
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesDouble

LAUNCH = UUID(int=1)
ECHO, LONER = satellites.algorithm("echo"), satellites.algorithm("loner")


def version(number: int, *, revision: int = 0, replicas: int = 2, both: bool = False, **more: Any) -> Satellite:
    """One of text/echo, and text/lone too."""
    entries = [satellites.entry("text/echo", ECHO, revision, replicas)]
    if both:
        entries.append(satellites.entry("text/lone", LONER))
    return satellites.satellite(satellites.order(LAUNCH, number, *entries), ECHO, LONER, **more)


def revision_image(revision: int) -> str:
    return ECHO.revisions[revision].id.hex * 2


async def ready(manager: KubernetesManager, satellite: Satellite) -> Observation:
    async def step() -> Observation:
        found = await manager.ensure(satellite)
        assert found.ready, found.obstacle
        return found

    return await eventually(step)


def running(double: KubernetesDouble) -> set[str]:
    """Images of ready pods."""
    return {
        pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        for pod in double.bodies("Pod")
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    }
