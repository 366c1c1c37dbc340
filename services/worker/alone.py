"""A node without a platform: it runs what is in container images, and obeys whoever opened it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from libs.common.contracts.replicas import ReplicaSpec
from libs.common.oci.images import Image
from libs.common.oci.layout import Layout
from services.worker import runtimes, sandbox, toolchain, unpacked
from services.worker.door import Door
from services.worker.environments import LanguageMissing
from services.worker.folders import DOOR, Folders
from services.worker.gpus import Gpus, offered
from services.worker.programs import Programs
from services.worker.replica_launch import ReplicaHost
from services.worker.replicas import Replicas
from services.worker.sandbox import Limits
from services.worker.settings import WorkerSettings
from services.worker.trees import BadArchive
from services.worker.unpacked import UnpackedImages
from services.worker.users import Users


class CannotRun(Exception):
    """This machine cannot run something; the text says what, and why."""


@dataclass(frozen=True)
class Packed:
    """An algorithm, as a replica's specification without an id has it, and its image."""

    spec: ReplicaSpec
    image: Image


@dataclass(frozen=True)
class Variables:
    """Secrets of algorithms, by revision."""

    by_revision: Mapping[UUID, Mapping[str, str]]

    async def environment(self, revision_id: UUID) -> dict[str, str]:
        return dict(self.by_revision.get(revision_id, {}))


@asynccontextmanager
async def node(
    settings: WorkerSettings,
    layout: Layout,
    packed: Sequence[Packed],
    variables: Variables,
    *,
    gateways: Callable[[], Sequence[str]],
    changed: Callable[[], None],
) -> AsyncIterator[Replicas]:
    """Replicas of what is packed, for as long as the context is open. All of it has been unpacked before it is, and
    nothing is used that an earlier one unpacked: its folder may have been elsewhere since.

    Args:
        gateways: where algorithms that call others find one.
        changed: told of each change of what the replicas report.

    Raises:
        CannotRun: something that is packed is not for this machine.
        AlreadyRunning, ToolMissing, SandboxUnavailable: with what to do about it.
    """
    folders = await asyncio.to_thread(Folders, settings.data_dir)
    with folders.locked():
        await asyncio.to_thread(folders.discard_made)
        tools = await toolchain.find(settings)
        sources = {one.spec.artifact.digest: await _source(layout, one, tools.python) for one in packed}
        pythons = [one.python for one in sources.values() if one.python is not None]
        box = await sandbox.detect(
            settings.sandbox,
            folders.work,
            folders.mounts,
            programs=[*tools.programs, *(python.path for python in pythons)],
            visible=[*tools.visible, *(python.prefix for python in pythons), *settings.sandbox_visible],
            hidden=[folders.root, *settings.sandbox_hidden],
            uid=settings.sandbox_uid,
        )
        images = UnpackedImages(folders, layout, sources)
        passed = {name: os.environ[name] for name in settings.pass_environment if name in os.environ}
        door = Door(folders.run / DOOR, gateways)
        async with runtimes.opened(settings, folders, box, tools) as containers, door.open():
            host = ReplicaHost(
                containers=containers,
                folders=folders,
                gpus=Gpus(offered(settings.gpus, settings.gpu_devices)),
                users=Users(settings.sandbox_uid, own_users=containers.own_users),
                environments=images,
                programs=Programs(folders.copy_runner(), tools, passed),
                secrets=variables,
                door=door,
                gateways=gateways,
                limits=Limits(
                    processes=settings.replica_processes,
                    open_files=settings.replica_open_files,
                    file_mib=settings.replica_file_mib,
                ),
                listening=None,
                starts=asyncio.Semaphore(settings.start_concurrency),
            )
            replicas = Replicas(host, changed)
            await replicas.clear()
            await _unpack(images, packed)
            try:
                yield replicas
            finally:
                await replicas.stop_all(drain_seconds=settings.drain_seconds)
                await asyncio.to_thread(folders.discard_made)


async def _source(layout: Layout, one: Packed, default: toolchain.Interpreter) -> unpacked.Source:
    try:
        return await unpacked.source(layout, one.image, one.spec.language, default)
    except (LanguageMissing, BadArchive) as error:
        raise CannotRun(f"{one.spec.owner}/{one.spec.name} cannot run here: {error}") from error


async def _unpack(images: UnpackedImages, packed: Sequence[Packed]) -> None:
    """Everything, which then stays for as long as this process runs."""
    for one in packed:
        spec = one.spec
        try:
            await images.prepare(spec.artifact, spec.language, spec.owner, user="node", say=lambda _: None)
        except BadArchive as error:
            raise CannotRun(f"{spec.owner}/{spec.name} cannot run here: {error}") from error
