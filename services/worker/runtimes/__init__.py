"""How replicas run on a node: one protocol of container managers, and what keeps to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.worker.folders import Folders
from services.worker.runtimes.processes import ProcessManager
from services.worker.runtimes.protocol import ContainerManager
from services.worker.sandbox import Sandbox
from services.worker.settings import WorkerSettings
from services.worker.toolchain import Toolchain


@asynccontextmanager
async def opened(
    settings: WorkerSettings, folders: Folders, sandbox: Sandbox, tools: Toolchain
) -> AsyncIterator[ContainerManager]:
    """The manager that the settings name, while the context is open. What runs at its end goes on.

    Raises RuntimeUnavailable.
    """
    manager: ContainerManager
    if settings.runtime == "docker":
        from services.worker.runtimes import docker  # noqa: PLC0415 - most workers run processes

        manager = await docker.connect(settings, folders.worker_id(), tools)
    else:
        manager = ProcessManager(sandbox, folders.run, mark=folders.mark(), devices=settings.gpu_devices)
    try:
        yield manager
    finally:
        await manager.close()
