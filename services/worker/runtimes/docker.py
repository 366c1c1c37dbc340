"""Replicas as containers of a Docker engine on this machine (Engine API 1.41 or newer, docs.docker.com/engine/api).

A container runs what a sandbox of processes runs: source, environment, runner and interpreters are the worker's, seen
read-only under the paths that they have outside. The image gives the system around them. Labels say whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from libs.common import logs
from services.worker import gpus
from services.worker.runtimes.protocol import Container, Exit, Inspection, NotStarted, RuntimeUnavailable
from services.worker.sandbox import SHM_MIB, base_environment
from services.worker.settings import WorkerSettings
from services.worker.toolchain import Toolchain

log = logs.get(__name__)

WORKER_LABEL = "constellation.worker"
REPLICA_LABEL = "constellation.replica"

_TMP = "/tmp"  # noqa: S108 - the container's own
_CLOSED = Path("/root")
"""A folder that images close to all users but root. Another one takes its place where something is mounted in it."""
_ASK_SECONDS = 30.0
_START_SECONDS = 120.0
_END_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_UNREACHABLE = 900
"""Stands for a status where the engine gave none (aiodocker)."""
_KILLED = 137
_DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Options:
    """What all containers of a worker share."""

    worker_id: str
    image: str
    """Reference with its registry (see `full_reference`)."""
    network: str
    """Of containers that have one: `host`, `bridge`, or the name of another network of the engine."""
    user: str
    """`UID:GID` of containers without a user of their own."""
    tools: Sequence[Path] = ()
    """Programs of this machine that every container sees."""
    cpus: float | None = None


class DockerManager:
    """See ContainerManager."""

    kind = "docker"
    private_tmp = True

    def __init__(
        self, engine: Docker, options: Options, *, own_users: bool, remote_calls: bool, auth: Mapping[str, str] | None
    ) -> None:
        """
        Args:
            remote_calls: replicas take calls of other machines.
            auth: `username` and `password` for the image's registry.
        """
        self.own_users = own_users
        self.cannot_isolate = (
            "its containers take calls of other machines, which needs a network; CONSTELLATION_LISTEN_TCP=false"
            " or CONSTELLATION_RUNTIME=process changes that"
            if remote_calls
            else None
        )
        self._engine = engine
        self._options = options
        self._auth = auth
        self._pulling = asyncio.Lock()
        self._starting: dict[UUID, asyncio.Task[NotStarted | None]] = {}
        """What the engine was asked for. It goes on when who asked is cancelled, so that the end comes after it."""

    def inner_host(self, host: str, *, isolated: bool) -> str:
        if self.shares_network(isolated=isolated):
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
        with _in_words():
            async with asyncio.timeout(_ASK_SECONDS):
                found = await self._labelled()
        inspections: dict[UUID, Inspection] = {}
        for one in found:
            with contextlib.suppress(ValueError):  # a label that a person wrote
                replica = UUID(one["Labels"].get(REPLICA_LABEL, ""))
                if (inspection := await self.inspect(replica)) is not None:
                    inspections[replica] = inspection
        return inspections

    async def inspect(self, replica: UUID) -> Inspection | None:
        with _in_words():
            async with asyncio.timeout(_ASK_SECONDS):
                shown = await self._shown(replica)
        if shown is None:
            return None
        return Inspection() if shown["State"]["Running"] else Inspection(exit_of(shown))

    async def wait(self, replica: UUID) -> Exit:
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
                config = configuration(container, self._options)
                name = f"constellation-{self._options.worker_id[:8]}-{container.replica}"
                made = await self._engine.containers.create(config, name=name)
                await made.start()
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            return NotStarted(_words(error))
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


async def connect(settings: WorkerSettings, worker_id: str, tools: Toolchain) -> DockerManager:
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
    return DockerManager(engine, options, own_users=root, remote_calls=settings.takes_remote_calls, auth=auth)


def configuration(container: Container, options: Options) -> dict[str, Any]:
    """A container as the engine is asked for it (`POST /containers/create`)."""
    limits = container.limits
    user = options.user if container.uid is None else f"{container.uid}:{container.uid}"
    memory = None if limits.data_mib is None else limits.data_mib << 20
    tmpfs = {_TMP: f"rw,exec,nosuid,nodev,mode=1777{'' if memory is None else f',size={memory}'}"}
    ulimits = {
        "core": 0,
        "nofile": limits.open_files,
        "fsize": None if limits.file_mib is None else limits.file_mib << 20,
    }
    gpu_variables = gpus.variables(container.gpus, others_hidden=True)
    environment = {**base_environment(_TMP), **container.environment, **gpu_variables}
    network = "none" if container.isolated else options.network
    ports: dict[str, list[dict[str, str]]] = {}
    if container.listening is not None and network not in ("none", "host"):
        host, port = container.listening
        ports = {f"{port}/tcp": [{"HostIp": host, "HostPort": str(port)}]}
    return {
        "Image": options.image,
        "Entrypoint": [container.command[0]],
        "Cmd": list(container.command[1:]),
        "WorkingDir": str(container.cwd),
        "User": user,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {WORKER_LABEL: options.worker_id, REPLICA_LABEL: str(container.replica)},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "ExposedPorts": {name: {} for name in ports},
        "HostConfig": {
            "Mounts": _mounts(container, options.tools),
            "Tmpfs": tmpfs,
            "ShmSize": SHM_MIB << 20,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Privileged": False,
            "UsernsMode": "host",
            "NetworkMode": network,
            "PortBindings": ports,
            "RestartPolicy": {"Name": "no"},
            "Memory": memory or 0,
            "MemorySwap": memory or 0,
            "NanoCpus": round((container.cpus or options.cpus or 0) * 1e9),
            "PidsLimit": limits.processes,
            "Ulimits": [
                {"Name": name, "Soft": value, "Hard": value} for name, value in ulimits.items() if value is not None
            ],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
            "DeviceRequests": device_requests(container.gpus),
        },
    }


def device_requests(gpus: Sequence[int]) -> list[dict[str, Any]]:
    """The engine's words for these GPUs (`docker run --gpus`)."""
    if not gpus:
        return []
    return [{"Driver": "", "Capabilities": [["gpu"]], "DeviceIDs": [str(index) for index in gpus]}]


def exit_of(shown: Mapping[str, Any] | None) -> Exit:
    """How a container ended, from what the engine shows of it; None stands for one that is gone."""
    if shown is None:
        return Exit(reason="its container was removed")
    state = shown["State"]
    if state["Status"] == "created":
        return Exit(reason=state.get("Error") or "its container was never started")
    status = int(state["ExitCode"])
    if state.get("OOMKilled") and status == _KILLED:
        return Exit(status, f"it used more memory than its {shown['HostConfig']['Memory'] >> 20} MiB")
    if state.get("Error"):
        return Exit(status, str(state["Error"]))
    return Exit(status, "it was killed" if status == _KILLED else None)


def full_reference(image: str) -> str:
    """An image's reference with its registry and its tag: `python` is `docker.io/library/python:latest`."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"{_DOCKER_HUB}/library/{image}"
    elif first != "localhost" and "." not in first and ":" not in first:
        image = f"{_DOCKER_HUB}/{image}"
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def registry_of(image: str) -> str:
    return image.partition("/")[0]


def _mounts(container: Container, tools: Iterable[Path]) -> Sequence[Mapping[str, Any]]:
    """What the container sees of this machine."""
    writable = {path.resolve(): False for path in container.writable}
    paths = {**{path.resolve(): True for path in (*container.readable, *tools)}, **writable}
    mounts = [_mount(path, path, read_only=read_only) for path, read_only in paths.items()]
    if closed := [path for path in paths if path.is_relative_to(_CLOSED)]:
        mounts.append(_mount(_with_places(container.folder / "root", closed), _CLOSED, read_only=True))
    return mounts


def _with_places(folder: Path, paths: Iterable[Path]) -> Path:
    """A folder to be seen as `_CLOSED`, with the places for what is mounted in it."""
    for path in paths:
        place = folder / path.relative_to(_CLOSED)
        directory = place if path.is_dir() else place.parent
        directory.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            place.touch()
    return folder


def _mount(source: Path, target: Path, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": str(target),
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


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
