"""What the container managers of workers promise, with the real runner in them.

What those of satellites promise as well is in `test_container_managers.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http.client import HTTPException
from uuid import UUID

import pytest

from services.worker.runtimes.protocol import Inspection, NotStarted
from services.worker.sandbox import Limits
from tests.contract.nodes import ALGORITHM, TOKEN, Node, node_of
from tests.service.worker.calling import call, call_tcp
from tests.support.eventually import eventually
from tests.support.ports import free_ports


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    async with node_of(request, request.param) as node:
        yield node


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
    await eventually(lambda: is_idle(node, replica))  # a call counts for a moment after its answer
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


async def is_idle(node: Node, replica: UUID) -> bool:
    return not await is_busy(node, replica)


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


async def test_calls_of_other_hosts_reach_an_isolated_container_and_it_reaches_nobody(node: Node) -> None:
    first = await node.manager()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    (port,) = free_ports(1)
    async with server:
        code = ALGORITHM.replace("PORT", str(server.sockets[0].getsockname()[1]))
        container = node.container(first, code=code, isolated=True, listening=("127.0.0.1", port))
        await first.ensure(container)
        report = await node.until_ready(first, container.replica)
        assert report.address is not None
        there = report.model_copy(
            update={"address": report.address.model_copy(update={"host": "127.0.0.1", "port": port})}
        )
        assert (await call_tcp(there, "x" * 200_000, token=TOKEN))[1]["result"] == "x" * 200_000
        assert (await call_tcp(there, "reach", token=TOKEN))[1]["result"] == "not reached"
        assert (await call_tcp(there, "who", token="wrong"))[0] == 403
        await first.close()
        assert (await call_tcp(there, 0.0, token=TOKEN))[0] == 200, "without a worker too"
        second = await node.manager()
        assert dict(await second.list()) == {container.replica: Inspection()}
        assert (await call_tcp(there, 0.0, token=TOKEN))[0] == 200
        await second.stop(container.replica)
        with pytest.raises(ConnectionRefusedError):
            await call_tcp(there, 0.0, token=TOKEN)
        assert not await second.list()


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
