"""What a worker is started with."""

from __future__ import annotations

import os
import socket
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, SecretStr

from libs.common.settings import ServiceSettings

RuntimeChoice = Literal["process", "docker"]
SandboxChoice = Literal["auto", "namespaces", "uid", "off"]


def machine_memory_mib() -> int:
    """Memory that this process may use: the machine's, or the limit of its control group."""
    page = os.sysconf("SC_PAGE_SIZE")
    limits = [page * os.sysconf("SC_PHYS_PAGES")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # no such control group, or `max`
            continue
    return max(1, min(limits) >> 20)


class WorkerSettings(ServiceSettings):
    """A node's agent. Every default fits one machine; `data_dir` must stay the same over restarts."""

    worker_name: str = Field(default_factory=socket.gethostname)
    """For people, in lists of workers."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For placing replicas, such as `{"zone": "b"}`. The worker adds `sandbox`, `isolated_network`, `arch`."""
    max_replicas: int = Field(default=64, ge=0)
    cpus: float = Field(default_factory=lambda: float(len(os.sched_getaffinity(0))), gt=0)
    """Processors to offer."""
    memory_mib: int = Field(default_factory=machine_memory_mib, gt=0)
    """Memory to offer to replicas."""
    gpus: str | None = Field(default=None, pattern=r"^([0-9]+(,[0-9]+)*)?$")
    """GPUs to offer, such as `0,1`; empty for none. Default: all that have a device node `nvidiaN`. Only a runtime or
    sandbox that gives replicas a /dev of their own hides GPUs from those that have none."""
    gpu_devices: Path = Path("/dev")
    """Where their device nodes are."""
    start_concurrency: int = Field(default=2, ge=1)
    """Replicas that are prepared and loaded at the same time; further ones wait their turn."""
    build_concurrency: int = Field(default=1, ge=0)
    """Builds at the same time; 0 leaves building to other workers."""
    report_seconds: float = Field(default=5.0, gt=0)
    """Longest pause between two reports to the deployer: at most a third of a worker's lease."""

    python: Path | None = None
    """Interpreter for Python algorithms. Default: the one that runs the platform."""
    node: Path | None = None
    """Node.js, with npm beside it, for JavaScript algorithms. Default: `node` on the path, if any."""
    index_url: str | None = None
    """Package index for Python. Default: what UV_ and PIP_ variables and pip's configuration files say."""
    extra_index_url: str = ""
    """Further indexes, separated by spaces."""
    find_links: str = ""
    """Folders or pages with packages, separated by spaces."""
    build_sdists: bool = True
    """Allow source distributions among requirements. Their build code runs in the sandbox and can read the
    credentials of the package index, if it needs any."""

    sandbox: SandboxChoice = "auto"
    """`auto` takes the strongest confinement that works here; a named one must work or the worker does not start."""
    sandbox_uid: int = Field(default=200_000, ge=1000)
    """First of the 20,000 user ids that a worker running as root gives to algorithms. No account may have them."""
    sandbox_visible: tuple[Path, ...] = ()
    """Further files and folders that algorithms may read."""
    sandbox_hidden: tuple[Path, ...] = ()
    """Folders that algorithms must not see, besides `data_dir`. Only needed for those inside /usr, /etc or /opt."""
    pass_environment: tuple[str, ...] = (
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "TZ",
    )
    """Variables of the worker that algorithms get as well. All others stay here."""
    replica_processes: int = Field(default=512, ge=16)
    replica_open_files: int = Field(default=4096, ge=64)
    replica_file_mib: int = Field(default=10_240, ge=1)
    """Largest file that an algorithm or build may write."""

    image_base: str | None = None
    """Base of algorithms' container images, with the same Python as `python`: a reference, or the folder or tar
    archive of an OCI layout; or `machine`, one made of this machine's own Python. Default: `python:3.N-slim`, or
    `machine` where its registry cannot be reached."""
    image_python: PurePosixPath | None = None
    """The Python in it. Default: `/usr/local/bin/python3.N`."""
    image_plain_http: tuple[str, ...] = ()
    """Container registries that are spoken to without TLS, as HOST or HOST:PORT."""
    make_images: bool = True
    """Make container images when the platform needs them, one at a time, and push them. False leaves that to other
    workers."""

    runtime: RuntimeChoice = "process"
    """How replicas run: as processes in the sandbox, or as containers of a Docker engine. Builds always run in the
    sandbox."""
    docker_host: str = Field(default="unix:///var/run/docker.sock", pattern=r"^(unix|tcp|http|https)://.+")
    """The engine. It must see this worker's files under the same paths."""
    runtime_image: str = Field(default="docker.io/library/python:3.11-slim", min_length=1, pattern=r"^[^\s?#&]+$")
    """Image of every container: the system around the worker's interpreters and environments, with the shared
    libraries that these need. Pulled when the engine does not have it."""
    runtime_registry_username: str = ""
    runtime_registry_password: SecretStr = SecretStr("")
    """For pulling the image from a private registry."""
    runtime_mounts_tools: bool = True
    """Containers see this worker's Python and Node.js. Not needed with an image that has the very same ones under
    the same paths."""
    runtime_network: str = Field(default="bridge", min_length=1)
    """Network of containers that are not isolated: `bridge`, `host`, or the name of another one of the engine."""
    runtime_cpus: float | None = Field(default=None, gt=0)
    """Processors that one container may use, where its algorithm's settings do not say. Default: all."""

    cache_mib: int = Field(default=20_480, ge=1)
    """Disk for unpacked sources and environments; the least recently used ones go first."""
    listen_tcp: bool | None = None
    """Replicas take calls of other hosts. Default: when the worker's own address is not a loopback one."""
    stop_replicas_on_exit: bool = True
    """Stop replicas when the worker stops. Otherwise they go on, and the next worker in `data_dir` adopts them."""

    @property
    def takes_remote_calls(self) -> bool:
        if self.listen_tcp is not None:
            return self.listen_tcp
        return self.advertised not in ("127.0.0.1", "::1", "localhost")
