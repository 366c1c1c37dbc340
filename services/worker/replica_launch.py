"""Brings one replica to life: its source and environment, its secrets, its addresses, its sandbox."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.common import logs, problems
from libs.common.clients.registry import RegistryClient
from libs.common.contracts.catalog import NetworkAccess
from libs.common.contracts.replicas import Address, ReplicaSpec, ReplicaState
from libs.common.hosts import host_id
from services.worker.door import Door
from services.worker.environments import BlobDamaged, Environments, LanguageMissing, Prepared
from services.worker.folders import Folders
from services.worker.gpus import Gpus
from services.worker.handles import Handle
from services.worker.programs import Programs
from services.worker.python_packages import RequirementsFailed
from services.worker.replica_folder import ReplicaFolder
from services.worker.runtimes.protocol import Container, ContainerManager, NotStarted
from services.worker.sandbox import Limits
from services.worker.trees import BadArchive
from services.worker.users import NoUserLeft, Users

log = logs.get(__name__)

_SECRETS_ATTEMPTS = 15
_PAUSE_SECONDS = 2.0


class ReplicaFailed(Exception):
    """Why a replica cannot run, or ended, in words that callers and operators read."""


@dataclass(frozen=True)
class Listening:
    """Where replicas take calls of other hosts."""

    host: str
    """Address to listen on."""
    advertised: str
    """Host under which gateways reach it."""


@dataclass(frozen=True)
class ReplicaHost:
    """What all replicas of a worker share."""

    containers: ContainerManager
    folders: Folders
    users: Users
    gpus: Gpus
    environments: Environments
    programs: Programs
    registry: RegistryClient
    door: Door
    gateways: Callable[[], Sequence[str]]
    limits: Limits
    listening: Listening | None
    starts: asyncio.Semaphore
    """Bounds how many are prepared and loaded at the same time."""


async def prepare(host: ReplicaHost, spec: ReplicaSpec, folder: ReplicaFolder) -> Prepared:
    """Source and environment, which the caller releases. Raises ReplicaFailed."""
    with folder.preparation.open("a") as out:
        try:
            return await host.environments.prepare(
                spec.artifact, spec.language, spec.owner, user=str(spec.id), say=out.write
            )
        except (RequirementsFailed, BadArchive, BlobDamaged, LanguageMissing, NoUserLeft) as error:
            raise ReplicaFailed(str(error)) from error
        except problems.Problem as error:
            raise ReplicaFailed(f"what the replica is made of cannot be fetched: {error.detail}") from error
        except OSError as error:
            raise ReplicaFailed(f"the replica's files cannot be made: {error.strerror or error}") from error


async def launch(
    host: ReplicaHost,
    spec: ReplicaSpec,
    folder: ReplicaFolder,
    prepared: Prepared,
    uid: int | None,
    gpus: tuple[int, ...],
) -> Handle:
    """Start the runner. Raises ReplicaFailed."""
    isolated = spec.network_access is NetworkAccess.ISOLATED
    if isolated and host.containers.cannot_isolate is not None:
        raise ReplicaFailed(
            "its settings ask for an isolated network, which this worker cannot give: "
            f"{host.containers.cannot_isolate}"
        )
    environment = await _secrets(host, spec)
    try:
        container, handle = _laid_out(host, spec, folder, prepared, uid, gpus, environment, isolated=isolated)
        await host.containers.ensure(container)
    except (OSError, NotStarted, LanguageMissing) as error:
        raise ReplicaFailed(f"the replica could not be started: {error}") from error
    return handle


def _laid_out(
    host: ReplicaHost,
    spec: ReplicaSpec,
    folder: ReplicaFolder,
    prepared: Prepared,
    uid: int | None,
    gpus: tuple[int, ...],
    environment: dict[str, str],
    *,
    isolated: bool,
) -> tuple[Container, Handle]:
    """Writes all that the runner reads, and the handle."""
    program = host.programs.of(spec.language, spec.name, prepared)
    address, token, port = _address(host.listening, folder)
    listening = None if host.listening is None else (host.listening.host, port)
    tcp = None
    if listening is not None:
        tcp = _join(host.containers.inner_host(listening[0], isolated=isolated), port)
    near = host.containers.shares_network(isolated=isolated)
    members: dict[str, Any] = {
        **program.members,
        "socket": str(folder.socket),
        "control": str(folder.control),
        "tcp": tcp,
        "token": token,
        "log": str(folder.log),
        "state": str(folder.state),
        "gateways": [*(_plain(host.gateways()) if near else []), f"unix:{host.door.path}"],
        "load_timeout": spec.load_timeout_seconds,
        "concurrency": spec.concurrency,
        "private_tmp": host.containers.private_tmp,
        "pipeline": spec.pipeline_enabled,
    }
    folder.write_spec(members, uid)
    container = Container(
        replica=spec.id,
        command=program.command(str(folder.spec)),
        cwd=prepared.tree,
        folder=folder.path,
        environment={**program.environment, **environment},
        readable=[*program.readable, folder.spec, host.door.folder],
        writable=[folder.own],
        uid=uid,
        limits=Limits(spec.memory_mib, host.limits.processes, host.limits.open_files, host.limits.file_mib),
        cpus=spec.cpus or None,
        gpus=gpus,
        isolated=isolated,
        listening=listening,
    )
    handle = Handle(
        spec=spec,
        uid=uid,
        gpus=gpus,
        state=ReplicaState.STARTING,
        since=datetime.now(UTC),
        address=address,
        tree=prepared.tree,
        environment=prepared.environment,
    )
    handle.write(folder.path)
    return container, handle


async def _secrets(host: ReplicaHost, spec: ReplicaSpec) -> dict[str, str]:
    """The algorithm's secrets. An algorithm that never had any starts without the registry."""
    if spec.secrets_version == 0:
        return {}
    for attempt in range(1, _SECRETS_ATTEMPTS + 1):
        try:
            return await host.registry.environment(spec.revision_id)
        except problems.Unavailable as error:
            if attempt == _SECRETS_ATTEMPTS:
                raise ReplicaFailed("its secrets cannot be fetched: the registry does not answer") from error
            await asyncio.sleep(_PAUSE_SECONDS)
        except problems.Problem as error:
            raise ReplicaFailed(f"its secrets cannot be fetched: {error.detail}") from error
    raise ReplicaFailed("its secrets cannot be fetched")


def _address(listening: Listening | None, folder: ReplicaFolder) -> tuple[Address, str | None, int]:
    unix = str(folder.socket)
    if listening is None:
        return Address(host_id=host_id(), unix=unix), None, 0
    port, token = _free_port(listening.host), secrets.token_hex(24)
    return Address(host_id=host_id(), unix=unix, host=listening.advertised, port=port, token=token), token, port


def _free_port(host: str) -> int:
    """One that nobody listens on now. Should somebody take it before the runner does, the replica fails with
    that reason and another one is started."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _plain(urls: Sequence[str]) -> list[str]:
    """Those that the runner can talk to by itself. The door leads to the others."""
    return [url for url in urls if url.startswith("http://") and url.count("/") == 2]
