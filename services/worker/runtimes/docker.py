"""Replicas as containers of a Docker engine on this machine (Engine API 1.41 or newer, docs.docker.com/engine/api).

A container runs what a sandbox of processes runs: source, environment, runner and interpreters are the worker's, seen
read-only under the paths that they have outside. The image gives the system around them. Labels say whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import aiohttp
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from libs.common import logs
from services.worker.runtimes.docker_documents import (
    REPLICA_LABEL,
    WORKER_LABEL,
    Options,
    configuration,
    exit_of,
    full_reference,
    registry_of,
)
from services.worker.runtimes.entrances import Entrances
from services.worker.runtimes.protocol import Container, Exit, Inspection, NotStarted, RuntimeUnavailable
from services.worker.settings import WorkerSettings
from services.worker.toolchain import Toolchain

log = logs.get(__name__)

_ASK_SECONDS = 30.0
_START_SECONDS = 120.0
_END_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_UNREACHABLE = 900
"""Stands for a status where the engine gave none (aiodocker)."""


class DockerManager:
    """See ContainerManager."""

    kind = "docker"
    private_tmp = True
    cannot_isolate: str | None = None

    def __init__(
        self,
        engine: Docker,
        options: Options,
        entrances: Entrances,
        *,
        own_users: bool,
        auth: Mapping[str, str] | None,
    ) -> None:
        """
        Args:
            entrances: for calls of other machines to containers without a network.
            auth: `username` and `password` for the image's registry.
        """
        self.own_users = own_users
        self._engine = engine
        self._options = options
        self._entrances = entrances
        self._auth = auth
        self._pulling = asyncio.Lock()
        self._starting: dict[UUID, asyncio.Task[NotStarted | None]] = {}
        """What the engine was asked for. It goes on when who asked is cancelled, so that the end comes after it."""

    def inner_host(self, host: str) -> str:
        if self._options.network == "host":
            return host
        return "::" if ":" in host else "0.0.0.0"  # noqa: S104 - of the container's own network

    def shares_network(self, *, isolated: bool) -> bool:
        return not isolated and self._options.network == "host"

    async def ensure(self, container: Container) -> None:
        await self._have_image()
        if container.replica not in self._starting:
            task = asyncio.create_task(self._start(container))
            self._starting[container.replica] = task
            task.add_done_callback(lambda _: self._starting.pop(container.replica))
        failure = await asyncio.shield(self._starting[container.replica])
        if failure is not None:
            raise failure

    async def list(self) -> Mapping[UUID, Inspection]:
        entrances = await self._entrances.list()
        starting = set(self._starting)  # what of these is none of them has its container by now
        with _in_words():
            async with asyncio.timeout(_ASK_SECONDS):
                found = await self._labelled()
        inspections: dict[UUID, Inspection] = {}
        for one in found:
            with contextlib.suppress(ValueError):  # a label that a person wrote
                replica = UUID(one["Labels"].get(REPLICA_LABEL, ""))
                if (inspection := await self.inspect(replica)) is not None:
                    inspections[replica] = inspection
        for replica in entrances - starting - inspections.keys():
            await self._entrances.close(replica)
        return inspections

    async def inspect(self, replica: UUID) -> Inspection | None:
        with _in_words():
            async with asyncio.timeout(_ASK_SECONDS):
                shown = await self._shown(replica)
        if shown is None:
            return None
        if not shown["State"]["Running"]:
            return Inspection(exit_of(shown))
        return Inspection(await self._entrances.failure(replica))

    async def wait(self, replica: UUID) -> Exit:
        """One that others can no longer reach has ended as well."""
        ends = [asyncio.create_task(self._wait(replica)), asyncio.create_task(self._entrances.wait(replica))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return next(end.result() for end in ends if end.done())
        finally:
            for end in ends:
                end.cancel()

    async def _wait(self, replica: UUID) -> Exit:
        """An engine that is away tells nothing: what it ran may run on."""
        while True:
            try:
                for container in await self._labelled(replica):
                    await container.wait()
                shown = await self._shown(replica)
                if shown is None or not shown["State"]["Running"]:
                    return exit_of(shown)
            except (DockerError, aiohttp.ClientError, TimeoutError) as error:
                if not _is_missing(error):  # else it was removed meanwhile
                    await asyncio.sleep(_RETRY_SECONDS)

    async def stop(self, replica: UUID, *, patience: float = 3.0) -> None:
        if (starting := self._starting.get(replica)) is not None:
            await asyncio.wait({starting})
        async with asyncio.timeout(patience + _END_SECONDS):
            while True:
                with contextlib.suppress(DockerError, aiohttp.ClientError):
                    found = await self._labelled(replica)
                    if not found:
                        await self._entrances.close(replica)
                        return
                    for container in found:
                        await container.stop(t=round(patience))
                        await container.delete(force=True, v=True)
                    continue
                await asyncio.sleep(_RETRY_SECONDS)

    async def logs(self, replica: UUID, limit: int) -> bytes:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                found = await self._labelled(replica)
                pieces = [piece for one in found for piece in await one.log(stdout=True, stderr=True)]
        except (DockerError, aiohttp.ClientError, TimeoutError):
            return b""
        return "".join(pieces).encode()[-limit:]

    async def close(self) -> None:
        if self._starting:
            await asyncio.wait(self._starting.values())
        await self._entrances.let_go()
        await self._engine.close()

    async def _have_image(self) -> None:
        """Pull the image when it is not here. Raises NotStarted."""
        image = self._options.image
        async with self._pulling:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    await self._engine.images.inspect(image)
            except DockerError as error:
                if not _is_missing(error):
                    raise NotStarted(_words(error)) from error
            else:
                return
            log.info("image_pull", image=image)
            try:
                await self._engine.images.pull(image, auth=self._auth)
            except (DockerError, aiohttp.ClientError) as error:
                raise NotStarted(
                    f"the image {image} cannot be pulled from {registry_of(image)}: {_words(error)}; check"
                    " CONSTELLATION_RUNTIME_IMAGE, and CONSTELLATION_RUNTIME_REGISTRY_USERNAME and _PASSWORD where"
                    " the registry asks who you are"
                ) from error

    async def _start(self, container: Container) -> NotStarted | None:
        """Gives why it was not started, if so."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                shown = await self._shown(container.replica)
                if shown is not None and shown["State"]["Status"] != "created":
                    return None
                if shown is not None:  # half made, by a worker that was killed
                    await self._engine.containers.container(shown["Id"]).delete(force=True, v=True)
                await self._entrances.open(container)
                config = configuration(container, self._options)
                name = f"constellation-{self._options.worker_id[:8]}-{container.replica}"
                made = await self._engine.containers.create(config, name=name)
                await made.start()
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            return NotStarted(_words(error))
        except NotStarted as error:
            return error
        return None

    async def _shown(self, replica: UUID) -> dict[str, Any] | None:
        for container in await self._labelled(replica):
            try:
                return await container.show()
            except DockerError as error:
                if not _is_missing(error):
                    raise
        return None

    async def _labelled(self, replica: UUID | None = None) -> Sequence[DockerContainer]:
        """Containers of this worker, of all replicas or of one."""
        labels = [f"{WORKER_LABEL}={self._options.worker_id}"]
        if replica is not None:
            labels.append(f"{REPLICA_LABEL}={replica}")
        return await self._engine.containers.list(all=True, filters=json.dumps({"label": labels}))


async def connect(settings: WorkerSettings, worker_id: str, tools: Toolchain, entrances: Entrances) -> DockerManager:
    """Raises RuntimeUnavailable when no engine answers."""
    root = os.geteuid() == 0
    user = f"{settings.sandbox_uid}:{settings.sandbox_uid}" if root else f"{os.getuid()}:{os.getgid()}"
    options = Options(
        worker_id=worker_id,
        image=full_reference(settings.runtime_image),
        network=settings.runtime_network,
        user=user,
        tools=tools.portable if settings.runtime_mounts_tools else (),
        cpus=settings.runtime_cpus,
    )
    password = settings.runtime_registry_password.get_secret_value()
    auth = {"username": settings.runtime_registry_username, "password": password} if password else None
    engine = Docker(url=settings.docker_host)
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            version = await engine.version()
    except (DockerError, aiohttp.ClientError, TimeoutError) as error:
        await engine.close()
        raise RuntimeUnavailable(
            f"no Docker engine answers at {settings.docker_host} ({_words(error)}); start it, let this user open its"
            " socket, name another with CONSTELLATION_DOCKER_HOST, or choose CONSTELLATION_RUNTIME=process"
        ) from error
    log.info("engine_found", version=version.get("Version"), api=version.get("ApiVersion"))
    return DockerManager(engine, options, entrances, own_users=root, auth=auth)


@contextmanager
def _in_words() -> Iterator[None]:
    """Raises RuntimeUnavailable for an engine that does not answer a question."""
    try:
        yield
    except (DockerError, aiohttp.ClientError, TimeoutError) as error:
        raise RuntimeUnavailable(f"the Docker engine does not answer: {_words(error)}") from error


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, DockerError) and error.status == 404


def _words(error: BaseException) -> str:
    if isinstance(error, DockerError):
        return logs.redact(str(error.message))
    return logs.redact(str(error)) or type(error).__name__
