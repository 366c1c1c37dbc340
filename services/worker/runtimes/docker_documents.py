"""Containers as a Docker engine is asked for them, and as it tells of them (Engine API 1.41)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.worker import gpus
from services.worker.runtimes.protocol import Container, Exit
from services.worker.sandbox import SHM_MIB, base_environment

WORKER_LABEL = "constellation.worker"
REPLICA_LABEL = "constellation.replica"

_TMP = "/tmp"  # noqa: S108 - the container's own
_CLOSED = Path("/root")
"""A folder that images close to all users but root. Another one takes its place where something is mounted in it."""
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
