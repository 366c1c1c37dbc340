"""Machines on which workers come and go, for tests of what their replicas run in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.replicas import Address, ReplicaReport, ReplicaState
from libs.common.hosts import host_id
from services.worker import processes, runtimes, sandbox, toolchain
from services.worker.control import Control, NoAnswer
from services.worker.folders import Folders
from services.worker.replica_folder import ReplicaFolder
from services.worker.runtimes.protocol import Container, ContainerManager
from services.worker.sandbox import MARK, Limits, Sandbox
from services.worker.settings import WorkerSettings
from services.worker.toolchain import Toolchain
from services.worker.users import Users
from tests.service.worker.devices import gpu_nodes
from tests.service.worker.places import passable_folder
from tests.support.docker import Docker
from tests.support.eventually import eventually

ALGORITHM = """
import os, socket, time

def apply(input):
    if input == "who":
        return [os.getuid(), os.getpid(), os.path.exists("/root/.ssh")]
    if input == "reach":
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=10).close()
            return "reached"
        except OSError:
            return "not reached"
    if input == "gpus":
        told = [os.environ[name] for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")]
        return [*told, sorted(name for name in os.listdir("/dev") if name.startswith("nvidia"))]
    if input == "write":
        open("/tmp/own", "w").write("x")
        for path in ("/etc/other", __file__):
            try:
                open(path, "a")
            except OSError:
                continue
            return path
        return "only /tmp"
    print("said", input, flush=True)
    time.sleep(input if isinstance(input, float) else 0)
    return input
"""


TOKEN = "of-the-replica"
SLEEP = "import time; time.sleep(600)"


@dataclass
class Node:
    """A machine with one runtime, on which workers come and go."""

    settings: WorkerSettings
    folders: Folders
    tools: Toolchain
    box: Sandbox
    engine: Docker | None
    """None for processes."""
    image: str
    stack: AsyncExitStack
    laid: dict[UUID, ReplicaFolder] = field(default_factory=dict)

    async def manager(self) -> ContainerManager:
        """As a worker opens it at its start."""
        opened = runtimes.opened(self.settings, self.folders, self.box, self.tools)
        return await self.stack.enter_async_context(opened)

    def container(self, manager: ContainerManager, *command: str, code: str = ALGORITHM, **members: Any) -> Container:
        """One with a Python algorithm in the real runner, or with another command."""
        replica = uuid4()
        uid = Users(self.settings.sandbox_uid, own_users=manager.own_users).take()
        folder = self.laid[replica] = ReplicaFolder.create(self.folders.run, uid)
        tree = self.folders.root / f"tree-{replica}"
        (tree / "src").mkdir(parents=True)
        (tree / "src" / "__init__.py").write_text("")
        (tree / "src" / "any.py").write_text(code)
        runner = self.folders.copy_runner()
        spec = {
            "name": "any",
            "kind": "python",
            "root": str(tree),
            "socket": str(folder.socket),
            "control": str(folder.control),
            "log": str(folder.log),
            "state": str(folder.state),
            "load_timeout": 120.0,
            "private_tmp": manager.private_tmp,
            "token": TOKEN,
        }
        if "listening" in members:
            host, port = members["listening"]
            if members.get("isolated"):
                spec["entrance"] = str(folder.entrance)
                members["entrance"] = folder.entrance
            else:
                spec["tcp"] = f"{manager.inner_host(host)}:{port}"
        folder.write_spec(spec, uid)
        python = str(self.tools.python.path)
        return Container(
            **{
                "replica": replica,
                "command": command or [python, "-I", str(runner / "main.py"), str(folder.spec)],
                "cwd": tree,
                "folder": folder.path,
                "environment": {},
                "readable": [tree, runner, folder.spec],
                "writable": [folder.own],
                "uid": uid,
                "limits": Limits(512, 256, 1024, 64),
                **members,
            }
        )

    def control(self, replica: UUID) -> Control:
        return Control(self.laid[replica].control, timeout=30.0)

    async def until_ready(self, manager: ContainerManager, replica: UUID) -> ReplicaReport:
        ended = asyncio.create_task(manager.wait(replica))

        async def ready() -> bool:
            if ended.done():
                pytest.fail(f"{ended.result()}: {await manager.logs(replica, 2000)!r}")
            try:
                return (await self.control(replica).health()).state in ("ready", "busy")
            except NoAnswer:
                return False

        await eventually(ready)
        ended.cancel()
        address = Address(host_id=host_id(), unix=str(self.laid[replica].socket))
        return ReplicaReport(id=replica, state=ReplicaState.READY, address=address, since=datetime.now(UTC))

    async def kill(self, replica: UUID) -> None:
        """From outside, as an operator or the kernel does."""
        if self.engine is not None:
            await asyncio.to_thread(self.engine.run, "kill", self.name(replica))
            return
        for pid, name in processes.marked(MARK).items():
            if name == f"{self.folders.mark()}-{replica}":
                with contextlib.suppress(ProcessLookupError):  # one that ended with another
                    os.kill(pid, signal.SIGKILL)

    async def leave_stray(self) -> UUID:
        """Something with this worker's mark that no worker started."""
        replica = uuid4()
        if self.engine is None:
            environment = {**os.environ, MARK: f"{self.folders.mark()}-{replica}"}
            process = await asyncio.create_subprocess_exec("sleep", "600", env=environment)
            self.stack.push_async_callback(process.wait)
        else:
            labels = [f"constellation.worker={self.folders.worker_id()}", f"constellation.replica={replica}"]
            options = [word for label in labels for word in ("--label", label)]
            command = ["run", "-d", "--network", "none", *options]
            await asyncio.to_thread(self.engine.run, *command, self.image, "python3", "-c", SLEEP)
        return replica

    def name(self, replica: UUID) -> str:
        return f"constellation-{self.folders.mark()}-{replica}"


@asynccontextmanager
async def node_of(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[Node]:
    """One whose replicas run in `process`es or in `docker` containers."""
    engine: Docker | None = request.getfixturevalue("docker") if kind == "docker" else None
    image: str = "" if engine is None else request.getfixturevalue("python_image")
    with passable_folder() as root:
        docker: dict[str, Any] = {}
        if engine is not None:
            docker = {"docker_host": engine.host, "runtime_image": image, "runtime_network": "host"}
        devices = gpu_nodes(root / "dev", 2)
        settings = WorkerSettings(data_dir=root, runtime=kind, gpu_devices=devices, **docker)
        folders = Folders(root)
        tools = await toolchain.find(settings)
        box = await sandbox.detect(
            "auto",
            folders.work,
            folders.mounts,
            programs=tools.programs,
            visible=tools.visible,
            hidden=[folders.root],
            uid=settings.sandbox_uid,
        )
        async with AsyncExitStack() as stack:
            node = Node(settings, folders, tools, box, engine, image, stack)
            yield node
            manager = await node.manager()
            for replica in await manager.list():
                await manager.stop(replica)
