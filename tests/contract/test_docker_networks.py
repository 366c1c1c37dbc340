"""Containers on an engine's own network, on a host of their own: who reaches them, and whom they reach."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from services.worker import sandbox, toolchain
from services.worker.folders import Folders
from services.worker.runner import protocol
from services.worker.settings import WorkerSettings
from tests.contract.nodes import ALGORITHM, TOKEN, Node
from tests.service.worker.calling import call
from tests.service.worker.places import passable_folder
from tests.support.docker import Docker
from tests.support.hosts import TwoHosts
from tests.support.ports import free_ports

pytestmark = pytest.mark.docker


@pytest.fixture
def hosts(docker: Docker) -> Iterator[TwoHosts]:
    """The engine of all tests says whether one can be had here."""
    with TwoHosts() as hosts:
        yield hosts


@pytest.fixture
def engine(hosts: TwoHosts) -> Iterator[Docker]:
    """One that belongs to the second host."""
    with passable_folder() as folder:
        engine = Docker(folder / "engine", networks=True)
        with closing(engine):
            hosts.on(hosts.second, engine.start)
            yield engine


async def test_a_container_on_the_engines_network_is_reached_by_other_hosts_and_reaches_them(
    hosts: TwoHosts, engine: Docker, python_archive: Path
) -> None:
    image = "constellation-test/python:base"
    await asyncio.to_thread(engine.run, "import", str(python_archive), image)
    (port,) = free_ports(1)
    with passable_folder() as root, closing(hosts.on(hosts.first, lambda: listening(hosts.first))) as server:
        settings = WorkerSettings(data_dir=root, runtime="docker", docker_host=engine.host, runtime_image=image)
        folders, tools = Folders(root), await toolchain.find(settings)
        box = await sandbox.detect(
            "auto", folders.work, folders.mounts, programs=tools.programs, visible=tools.visible, uid=200_000
        )
        async with AsyncExitStack() as stack:
            node = Node(settings, folders, tools, box, engine, image, stack)
            manager = await node.manager()
            code = ALGORITHM.replace("127.0.0.1", hosts.first).replace("PORT", str(server.getsockname()[1]))
            container = node.container(manager, code=code, listening=(hosts.second, port))
            await manager.ensure(container)
            report = await node.until_ready(manager, container.replica)
            assert not manager.shares_network(isolated=False)
            assert await call(report, "reach") == "reached"

            def ask(token: str) -> int:
                connection = http.client.HTTPConnection(hosts.second, port, timeout=60)
                with closing(connection):
                    headers = {protocol.REPLICA_TOKEN: token, "content-type": "application/json"}
                    connection.request("POST", protocol.CALL_PATH, '"who"', headers)
                    return connection.getresponse().status

            assert await asyncio.to_thread(hosts.on, hosts.first, lambda: ask(TOKEN)) == 200
            assert await asyncio.to_thread(hosts.on, hosts.first, lambda: ask("wrong")) == 403

            alone = node.container(manager, code=code, isolated=True)
            await manager.ensure(alone)
            assert await call(await node.until_ready(manager, alone.replica), "reach") == "not reached"
            for replica in await manager.list():
                await manager.stop(replica)


def listening(host: str) -> socket.socket:
    return socket.create_server((host, 0))
