"""What runs, as deployers say: asked without holding anything, and of any number of launches."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.clients.deployer import DeployerClient
from libs.common.contracts.launches import LaunchState
from tests.service.registry.conftest import Platform
from tests.service.registry.test_launch_orders import Ordering
from tests.service.registry.test_satellites import launched, made
from tests.support.deployer_double import DeployerDouble
from tests.support.eventually import eventually


@pytest.fixture
async def dev(deployer: DeployerDouble, platform: Platform) -> Ordering:
    """A launch of joe/hello that is deployed, and an application with its version. That is ready, so no loop asks."""
    await platform.create()
    commit = (await platform.built()).commit
    satellite = await made(platform, commit)
    found = Ordering(platform, satellite, await launched(platform, satellite))
    await found.deploy(1)
    await platform.ok("POST", "/admin/v1/applications", "root", json={"name": "digits"})
    version = {"algorithm": f"joe/hello/{commit}"}
    await platform.ok("POST", "/admin/v1/applications/digits/versions", "root", json=version)
    page = await platform.ok("GET", "/internal/feeds/launches?since=0", "@deployer")
    [linked] = [one["body"] for one in page["changes"] if not one["body"].get("is_addressed", True)]
    deployer.say({**linked, "id": linked["deployment_id"]}, LaunchState.DEPLOYED, ready=1)

    async def ready() -> bool:
        document = await platform.ok("GET", "/admin/v1/applications/digits", "root")
        return bool(document["versions"][0]["state"] == "ready")

    await eventually(ready)
    return found


async def test_no_connection_is_held_while_a_deployer_is_asked(
    deployer: DeployerDouble, platform: Platform, dev: Ordering
) -> None:
    pool: Any = platform.registry.database.engine.pool
    for method, path, document in (
        ("GET", dev.launch, None),
        ("GET", "/admin/v1/launches", None),
        ("GET", f"{dev.satellite}/launches", None),
        ("GET", dev.satellite, None),
        ("GET", "/admin/v1/applications", None),
        ("GET", "/admin/v1/applications/digits", None),
        ("PUT", dev.satellite, {"name": "rim"}),
        ("PATCH", dev.launch, {"description": "x"}),
        ("DELETE", dev.launch, None),
        ("DELETE", dev.satellite, None),
    ):
        deployer.asked.clear()
        deployer.answers.clear()
        asking = asyncio.create_task(platform.ask(method, path, "root", json=document))
        await eventually(lambda: deployer.asked)
        await eventually(lambda: pool.checkedout() == 0)
        assert not asking.done()
        deployer.answers.set()
        assert (await asking).status_code == 200


async def test_more_launches_are_asked_of_than_fit_into_one_question(
    deployer: DeployerDouble, platform: Platform, dev: Ordering
) -> None:
    order = await dev.deploy(1)
    deployer.say(order, LaunchState.DEPLOYED, 1)
    deployer.asked.clear()
    runtime = platform.registry.runtime
    launch_id = UUID(order["launch_id"])
    found = await DeployerClient(runtime.http, runtime.member).launches([*(uuid4() for _ in range(2000)), launch_id])
    assert [*found] == [launch_id]
    questions = [ids for ids in deployer.asked if len(ids) == 1000 or str(launch_id) in ids]
    assert [len(ids) for ids in questions] == [1000, 1000, 1]
