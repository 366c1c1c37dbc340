"""The worker service: joins the platform, takes up what runs on this node, then builds and runs what it is told."""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version as package_version
from uuid import uuid4

import httpx
from fastapi import FastAPI

from libs.common import logs, web
from libs.common.bus import Bus
from libs.common.clients.deployer import DeployerClient
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.jobs import (
    BUILD_QUEUE,
    BuildRequested,
    ImagePushRequested,
    ImageRequested,
    OrdersChanged,
    image_queue,
    worker_queue,
)
from libs.common.contracts.replicas import Capacity, WorkerReport
from libs.common.loops import running
from libs.common.service import Runtime, runtime
from services.worker import api, indexes, runtimes, sandbox, toolchain
from services.worker.agent import Agent
from services.worker.builds import Builder
from services.worker.door import Door
from services.worker.environments import Environments
from services.worker.folders import DOOR, Folders
from services.worker.gpus import Gpus, offered
from services.worker.image_jobs import ImageJobs
from services.worker.image_maker import HERE, ImageMaker
from services.worker.indexes import Indexes
from services.worker.node_packages import NodePackages
from services.worker.programs import Programs
from services.worker.python_packages import PythonPackages
from services.worker.replica_launch import Listening, ReplicaHost
from services.worker.replicas import Replicas
from services.worker.runtimes.protocol import ContainerManager
from services.worker.sandbox import Limits, Sandbox
from services.worker.settings import WorkerSettings
from services.worker.steps import Steps
from services.worker.toolchain import Toolchain
from services.worker.users import Users

log = logs.get(__name__)

REQUIRES = ("registry", "deployer", "gateway")
REGISTRY_SECONDS = 60.0
"""For each step of what is asked of a container registry, which may take its time over a large blob."""


def create_app(settings: WorkerSettings, *, bus: Bus | None = None) -> FastAPI:
    """The worker's application. Its lifespan runs the node's agent.

    Its start raises AlreadyRunning, ToolMissing, SandboxUnavailable, RuntimeUnavailable or JoinRefused with what to
    do about it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        folders = await asyncio.to_thread(Folders, settings.data_dir)
        with folders.locked():
            tools = await toolchain.find(settings)
            packages = indexes.configured(settings, os.environ)
            box = await sandbox.detect(
                settings.sandbox,
                folders.work,
                folders.mounts,
                programs=tools.programs,
                visible=[*tools.visible, *packages.readable, *settings.sandbox_visible],
                hidden=[folders.root, *settings.sandbox_hidden],
                uid=settings.sandbox_uid,
            )
            async with (
                runtimes.opened(settings, folders, box, tools) as containers,
                runtime(
                    app, settings, name="worker", requires=REQUIRES, bus=bus, instance_id=folders.worker_id()
                ) as joined,
                httpx.AsyncClient(timeout=REGISTRY_SECONDS) as registries,
            ):
                worker = await asyncio.to_thread(
                    Worker,
                    settings,
                    folders,
                    tools=tools,
                    packages=packages,
                    box=box,
                    containers=containers,
                    joined=joined,
                    registries=registries,
                )
                app.state.replicas = worker.replicas
                app.state.checks["deployer"] = worker.agent.check
                async with worker.working():
                    yield

    return web.create_app("worker", lifespan=lifespan, routers=[api.routes])


class Worker:
    """The parts of a worker, put together."""

    def __init__(
        self,
        settings: WorkerSettings,
        folders: Folders,
        *,
        tools: Toolchain,
        packages: Indexes,
        box: Sandbox,
        containers: ContainerManager,
        joined: Runtime,
        registries: httpx.AsyncClient,
    ) -> None:
        """
        Args:
            registries: carries what is asked of container registries.
        """
        worker_id = joined.member.instance_id
        registry = RegistryClient(joined.http, joined.member)
        builders = Users(settings.sandbox_uid, own_users=box.confinement.own_users)
        limits = Limits(
            processes=settings.replica_processes,
            open_files=settings.replica_open_files,
            file_mib=settings.replica_file_mib,
        )
        steps = Steps(box, folders, builders, limits, mark=folders.mark())
        python = PythonPackages(steps, tools, packages, build_sdists=settings.build_sdists)
        node = None if tools.node is None else NodePackages(steps, tools.node, packages, os.environ)
        environments = Environments(
            folders,
            steps=steps,
            toolchain=tools,
            python=python,
            node=node,
            fetch=registry.read_blob,
            budget_mib=settings.cache_mib,
        )
        passed = {name: os.environ[name] for name in settings.pass_environment if name in os.environ}
        runner = folders.copy_runner()
        programs = Programs(runner, tools, passed)
        self._settings = settings
        self._bus = joined.bus
        self._worker_id = worker_id
        gpus = Gpus(offered(settings.gpus, settings.gpu_devices))
        self._capacity = Capacity(
            cpus=settings.cpus,
            memory_mib=settings.memory_mib,
            gpus=gpus.count,
            replicas=settings.max_replicas,
        )
        self._labels = _labels(settings, box, containers)
        self._steps = steps
        self._languages = tools.languages
        self._run, self._sequence = uuid4().hex, itertools.count(1)
        self._door = Door(folders.run / DOOR, lambda: joined.member.urls("gateway"))
        self._builder = Builder(
            registry,
            worker_id,
            steps=steps,
            environments=environments,
            programs=programs,
            python=python,
            node=node,
        )
        maker = ImageMaker(
            settings, registries, tools=tools, environments=environments, runner=runner, work=folders.work
        )
        self._images = ImageJobs(registry, worker_id, maker)
        self.agent = Agent(
            DeployerClient(joined.http, joined.member),
            worker_id,
            self._describe,
            report_seconds=settings.report_seconds,
        )
        host = ReplicaHost(
            containers=containers,
            folders=folders,
            users=Users(settings.sandbox_uid, own_users=containers.own_users),
            gpus=gpus,
            environments=environments,
            programs=programs,
            secrets=registry,
            door=self._door,
            gateways=lambda: joined.member.urls("gateway"),
            limits=limits,
            listening=Listening(settings.host, settings.advertised) if settings.takes_remote_calls else None,
            starts=asyncio.Semaphore(settings.start_concurrency),
        )
        self.replicas = Replicas(host, self.agent.changed)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Build and run while the context is open; leave nothing behind at its end, or all, as the settings say."""
        async with self._door.open():
            await self._steps.clear()
            await self.replicas.recover()
            self.agent.obey(self.replicas)
            async with running(self.agent.loop, self.replicas.tidying):
                try:
                    async with AsyncExitStack() as stack:
                        await self._consume(stack)
                        yield
                finally:
                    await self._end()
            if self._settings.stop_replicas_on_exit:
                await self.agent.once()

    async def _consume(self, stack: AsyncExitStack) -> None:
        orders = self._bus.consume(
            worker_queue(self._worker_id), self.agent.orders_changed, accepts=[OrdersChanged], prefetch=10
        )
        await stack.enter_async_context(orders)
        if self._settings.build_concurrency > 0:
            builds = self._bus.consume(
                BUILD_QUEUE,
                self._builder.handle,
                accepts=[BuildRequested],
                prefetch=self._settings.build_concurrency,
            )
            await stack.enter_async_context(builds)
            stack.push_async_callback(self._builder.abandon)
        if self._settings.make_images:
            accepts: Sequence[type[ImageRequested | ImagePushRequested]] = (ImageRequested, ImagePushRequested)
            images = self._bus.consume(image_queue(str(HERE)), self._images.handle, accepts=accepts)
            await stack.enter_async_context(images)
            stack.push_async_callback(self._images.abandon)

    async def _end(self) -> None:
        """While the deployer is still told, so that gateways send nothing more here."""
        self.agent.obey(None)
        if self._settings.stop_replicas_on_exit:
            self._capacity = self._capacity.model_copy(update={"replicas": 0})
            await self.replicas.stop_all(drain_seconds=self._settings.drain_seconds)
        else:
            await self.replicas.leave_all()

    def _describe(self) -> WorkerReport:
        return WorkerReport(
            name=self._settings.worker_name,
            version=package_version("constellation"),
            runtime=self._settings.runtime,
            labels=self._labels,
            languages=self._languages,
            capacity=self._capacity,
            replicas=self.replicas.reports(),
            run=self._run,
            sequence=next(self._sequence),
        )


def _labels(settings: WorkerSettings, box: Sandbox, containers: ContainerManager) -> dict[str, str]:
    return {
        "arch": platform.machine(),
        "sandbox": box.confinement.mode,
        "isolated_network": "yes" if containers.cannot_isolate is None else "no",
        **settings.labels,
    }
