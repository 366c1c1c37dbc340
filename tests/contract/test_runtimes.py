"""What every container manager promises, with the real runner in it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.replicas import Address, ReplicaReport, ReplicaState
from libs.common.hosts import host_id
from services.worker import processes, runtimes, sandbox, toolchain
from services.worker.control import Control, NoAnswer
from services.worker.folders import Folders
from services.worker.replica_folder import ReplicaFolder
from services.worker.runtimes.protocol import Container, ContainerManager, Inspection, NotStarted
from services.worker.sandbox import MARK, Limits, Sandbox
from services.worker.settings import WorkerSettings
from services.worker.toolchain import Toolchain
from services.worker.users import Users
from tests.service.worker.calling import call
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
        }
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


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    engine: Docker | None = request.getfixturevalue("docker") if request.param == "docker" else None
    image: str = "" if engine is None else request.getfixturevalue("python_image")
    with passable_folder() as root:
        docker: dict[str, Any] = {}
        if engine is not None:
            docker = {"docker_host": engine.host, "runtime_image": image, "runtime_network": "host"}
        devices = gpu_nodes(root / "dev", 2)
        settings = WorkerSettings(data_dir=root, runtime=request.param, gpu_devices=devices, **docker)
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


async def test_one_container_for_one_replica_from_start_to_end(node: Node) -> None:
    manager = await node.manager()
    container = node.container(manager)
    replica = container.replica
    assert await manager.inspect(replica) is None
    await asyncio.gather(manager.ensure(container), manager.ensure(container))
    report = await node.until_ready(manager, replica)
    uid, pid, _ = await call(report, "who")
    await manager.ensure(container)
    assert (await call(report, "who"))[:2] == [uid, pid], "it is the same one"
    assert uid != 0, "nothing runs as root"
    assert await call(report, "write") == "only /tmp"
    assert dict(await manager.list()) == {replica: Inspection()}
    assert await manager.inspect(replica) == Inspection()

    ending = asyncio.create_task(manager.wait(replica))
    under_way = asyncio.create_task(call(report, 0.5))
    await eventually(lambda: is_busy(node, replica))
    await node.control(replica).drain()
    assert await under_way == 0.5, "draining lets it finish"
    ended = await asyncio.wait_for(ending, 60)
    assert (ended.status, ended.reason) == (0, None)
    inspection = await manager.inspect(replica)
    assert inspection is not None
    assert not inspection.running
    await manager.stop(replica)
    await manager.stop(replica)
    assert await manager.inspect(replica) is None
    assert not await manager.list()
    assert "said 0.5" in node.laid[replica].log.read_text()


async def is_busy(node: Node, replica: UUID) -> bool:
    return (await node.control(replica).health()).state == "busy"


async def test_another_worker_finds_what_runs_and_ends_it_by_force(node: Node) -> None:
    first = await node.manager()
    container = node.container(first)
    await first.ensure(container)
    report = await node.until_ready(first, container.replica)
    who = await call(report, "who")
    await first.close()
    second = await node.manager()
    assert dict(await second.list()) == {container.replica: Inspection()}
    await second.ensure(container)
    assert await call(report, "who") == who
    waiting = asyncio.create_task(second.wait(container.replica))
    under_way = asyncio.create_task(call(report, 600.0))
    await eventually(lambda: is_busy(node, container.replica))
    await second.stop(container.replica, patience=0.1)
    await asyncio.wait_for(waiting, 60)
    with pytest.raises((OSError, HTTPException)):
        await under_way
    assert not await second.list()


async def test_what_is_killed_from_outside_is_noticed_with_the_reason(node: Node) -> None:
    manager = await node.manager()
    container = node.container(manager)
    await manager.ensure(container)
    await node.until_ready(manager, container.replica)
    waiting = asyncio.create_task(manager.wait(container.replica))
    await node.kill(container.replica)
    ended = await asyncio.wait_for(waiting, 60)
    assert ended.status in (-9, 128 + 9)
    assert "ended with status" in ended.words
    assert (await manager.list())[container.replica].exit == ended

    code = "import sys; print('last words', flush=True); x = b'x' * (1 << 30); sys.exit(7)"
    greedy = node.container(manager, str(node.tools.python.path), "-c", code, limits=Limits(64))
    await manager.ensure(greedy)
    ended = await asyncio.wait_for(manager.wait(greedy.replica), 60)
    said = (await manager.logs(greedy.replica, 1 << 16)).decode()
    assert "last words" in said
    if node.engine is None:
        assert (ended.status, "MemoryError" in said) == (1, True)
    else:
        assert (ended.status, ended.reason) == (137, "it used more memory than its 64 MiB")
    assert (await manager.logs(greedy.replica, 3)).decode() == said[-3:]
    await manager.stop(greedy.replica)
    assert await manager.logs(greedy.replica, 3) == b""


async def test_strays_are_found_by_their_mark_and_ended(node: Node) -> None:
    manager = await node.manager()
    stray = await node.leave_stray()
    assert dict(await manager.list()) == {stray: Inspection()}
    await manager.stop(stray)
    assert not await manager.list()


async def test_an_isolated_container_has_no_network(node: Node) -> None:
    manager = await node.manager()
    assert manager.cannot_isolate is None
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        code = ALGORITHM.replace("PORT", str(server.sockets[0].getsockname()[1]))
        answers = {}
        for isolated in (False, True):
            container = node.container(manager, code=code, isolated=isolated)
            await manager.ensure(container)
            answers[isolated] = await call(await node.until_ready(manager, container.replica), "reach")
            assert manager.shares_network(isolated=isolated) is not isolated
    assert answers == {False: "reached", True: "not reached"}


async def test_a_container_sees_the_gpus_that_it_has_and_no_other_ones(node: Node) -> None:
    manager = await node.manager()
    without = node.container(manager, environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    await manager.ensure(without)
    report = await node.until_ready(manager, without.replica)
    assert await call(report, "gpus") == ["void", "", []]
    with_one = node.container(manager, gpus=[1])
    if node.engine is None:
        await manager.ensure(with_one)
        report = await node.until_ready(manager, with_one.replica)
        assert await call(report, "gpus") == ["1", "0", ["nvidia-uvm", "nvidia1", "nvidiactl"]]
    else:  # there is no GPU here that an engine could give
        with pytest.raises(NotStarted, match=r"device driver .*\[\[gpu\]\]"):
            await manager.ensure(with_one)


async def test_what_cannot_be_started_says_why(node: Node) -> None:
    manager = await node.manager()
    missing = node.container(manager, "/nonexistent/program")
    if node.engine is None:
        await manager.ensure(missing)
        await asyncio.wait_for(manager.wait(missing.replica), 60)
        said = await manager.logs(missing.replica, 1000)
        assert b"/nonexistent/program could not be started" in said
    else:
        with pytest.raises(NotStarted, match="/nonexistent/program"):
            await manager.ensure(missing)
