"""What every container manager promises by `ensure`, `list`, `inspect`, `stop` and `logs`, whatever it manages.

A worker's managers run one replica each time, in processes or in a Docker container. That of a cluster runs a whole
satellite in a namespace, on a double and on a real one. Here all are held to the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import pytest

from services.deployer.kubernetes import objects
from services.deployer.kubernetes.manager import KubernetesManager
from services.deployer.kubernetes.objects import Stage
from services.deployer.kubernetes.observed import Observation
from services.deployer.kubernetes.satellite import Satellite, Tokens
from services.worker.runtimes.protocol import Container, Inspection
from tests.contract.nodes import Node, node_of
from tests.support import cluster_satellites as satellites
from tests.support.eventually import eventually
from tests.support.kubernetes import places
from tests.support.kubernetes.controllers import Outcome
from tests.support.kubernetes.places import Place

GOES_ON = "import time; print('begins', flush=True); time.sleep(600)"


class Manager(Protocol):
    """Of anything: `spec` says what it runs, an id names it."""

    async def ensure(self, spec: Any) -> Any: ...

    async def list(self) -> Any: ...

    async def inspect(self, key: UUID) -> Any: ...

    async def stop(self, key: UUID, *, patience: float) -> None: ...

    async def logs(self, key: UUID, limit: int) -> bytes: ...


@dataclass
class Ground:
    """Where the managers of one kind run something.

    Attributes:
        manager: one as a new process would have it.
        thing: something to run that goes on, and its id.
        broken: something that cannot run.
        stray: runs something that has the mark of the managers, and that none of them was asked for.
        runs: what `inspect` says is that it runs as it should.
        why: what a manager says of something that cannot run.
    """

    manager: Callable[[], Awaitable[Manager]]
    thing: Callable[[], Awaitable[tuple[Any, UUID]]]
    broken: Callable[[], Awaitable[tuple[Any, UUID]]]
    stray: Callable[[], Awaitable[UUID]]
    runs: Callable[[Any], bool]
    why: Callable[[Manager, Any, UUID], Awaitable[str]]
    patience: float = 60.0
    speaks: bool = True
    """What runs prints a line that says `begins`."""


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker), "double", "cluster"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    if request.param in ("double", "cluster"):
        async with places.place(request.param, tmp_path) as place:
            yield of_cluster(place)
    else:
        async with node_of(request, request.param) as node:
            yield of_node(node)


def of_node(node: Node) -> Ground:
    async def made(*command: str) -> tuple[Container, UUID]:
        container = node.container(await node.manager(), *command)
        return container, container.replica

    async def thing() -> tuple[Container, UUID]:
        return await made(str(node.tools.python.path), "-c", GOES_ON)

    async def broken() -> tuple[Container, UUID]:
        return await made(str(node.tools.python.path), "-c", "raise SystemExit('it cannot')")

    async def why(manager: Manager, container: Container, key: UUID) -> str:
        await manager.ensure(container)

        async def ended() -> str:
            found: Inspection = await manager.inspect(key)
            assert found.exit is not None
            return found.exit.words + (await manager.logs(key, 1000)).decode()

        return await eventually(ended)

    def runs(found: Inspection) -> bool:
        return found.running

    return Ground(node.manager, thing, broken, node.leave_stray, runs, why)


def of_cluster(place: Place) -> Ground:
    echo = satellites.algorithm("echo")

    def satellite(image: str) -> tuple[Satellite, UUID]:
        launch_id = uuid4()
        order = satellites.order(launch_id, 1, satellites.entry("text/echo", echo))
        return satellites.satellite(order, echo, image=image), launch_id

    async def manager() -> KubernetesManager:
        return place.manager()

    async def thing() -> tuple[Satellite, UUID]:
        return satellite(place.stand_in.image)

    async def broken() -> tuple[Satellite, UUID]:
        missing = "registry.invalid/constellation/none:1"
        if place.double is not None:
            place.double.image_does(missing, Outcome(pull_error="it cannot"))
        return satellite(missing)

    async def stray() -> UUID:
        """What is left of a launch that somebody ended badly."""
        left, launch_id = satellite(place.stand_in.image)
        await place.cluster.apply(objects.namespace(place.site))
        for one in place.stand_in.render(left, place.site, Tokens("a", "b")):
            if one.stage is Stage.GATEWAYS:
                await place.cluster.apply(one.body, place.namespace)
        return launch_id

    async def why(manager: Manager, spec: Satellite, key: UUID) -> str:
        async def told() -> str:
            found: Observation = await manager.ensure(spec)
            assert found.obstacle is not None
            assert "cannot" in found.obstacle
            return found.obstacle

        return await eventually(told, place.patience)

    def runs(found: Observation) -> bool:
        return found.gateway is not None and found.gateway.settled and found.obstacle is None

    return Ground(manager, thing, broken, stray, runs, why, place.patience, place.stand_in.speaks)


async def test_something_runs_once_however_often_it_is_asked_for(ground: Ground) -> None:
    manager = await ground.manager()
    spec, key = await ground.thing()
    assert await manager.inspect(key) is None
    assert key not in await manager.list()
    await running(ground, manager, spec, key)
    assert set(await manager.list()) == {key}
    await manager.ensure(spec)
    assert set(await manager.list()) == {key}
    assert ground.runs(await manager.inspect(key))
    await manager.stop(key, patience=3.0)
    await manager.stop(key, patience=3.0)
    assert await manager.inspect(key) is None
    assert not await manager.list()


async def test_who_comes_later_finds_what_runs(ground: Ground) -> None:
    spec, key = await ground.thing()
    await running(ground, await ground.manager(), spec, key)
    successor = await ground.manager()
    assert ground.runs((await successor.list())[key])
    await successor.ensure(spec)
    assert ground.runs(await successor.inspect(key)), "it is not another one that begins"
    await successor.stop(key, patience=0.1)
    assert await successor.inspect(key) is None


async def test_what_was_printed_is_kept_until_the_end(ground: Ground) -> None:
    if not ground.speaks:
        pytest.skip("NOT TRIED ON THIS CLUSTER: what it can run prints nothing")
    manager = await ground.manager()
    spec, key = await ground.thing()
    await running(ground, manager, spec, key)

    async def printed() -> bytes:
        said = await manager.logs(key, 1 << 16)
        assert b"begins" in said
        return said

    said = await eventually(printed, ground.patience)
    assert await manager.logs(key, 5) == said[-5:]
    await manager.stop(key, patience=0.1)
    assert await manager.logs(key, 5) == b""


async def test_strays_are_found_by_their_mark_and_ended(ground: Ground) -> None:
    manager = await ground.manager()
    stray = await ground.stray()
    assert set(await manager.list()) == {stray}
    await manager.stop(stray, patience=0.1)
    assert not await manager.list()


async def test_what_cannot_run_says_why(ground: Ground) -> None:
    manager = await ground.manager()
    spec, key = await ground.broken()
    assert "cannot" in await ground.why(manager, spec, key)
    await manager.stop(key, patience=0.1)
    assert not await manager.list()


async def running(ground: Ground, manager: Manager, spec: Any, key: UUID) -> None:
    async def step() -> bool:
        await manager.ensure(spec)
        return ground.runs(await manager.inspect(key))

    await eventually(step, ground.patience, every=0.1)
