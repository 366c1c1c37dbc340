"""Orders of launches, with what deployers say of the ones before."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.contracts.launches import LaunchState
from services.registry import store
from tests.service.registry.conftest import Platform
from tests.service.registry.test_satellites import LAUNCHES, SATELLITES, launched, made
from tests.support.deployer_double import DeployerDouble
from tests.support.eventually import eventually

HELLO = "/v1/algorithms/joe/hello"


class Ordering:
    """A launch of a satellite, and what is ordered of it."""

    def __init__(self, platform: Platform, satellite: Any, launch: Any) -> None:
        self.platform = platform
        self.satellite = f"{SATELLITES}/{satellite['id']}"
        self.launch = f"{LAUNCHES}/{launch['id']}"

    async def deploy(self, version: int) -> Any:
        return await self.platform.ok("POST", f"{self.launch}/deploy", "root", json={"satellite_version": version})

    async def edit(self, algorithm: str, vanity: str = "foo/bar") -> None:
        """A version of the satellite with this algorithm only."""
        entries = [{"algorithm": algorithm, "vanity_url": vanity, "replicas": 1}]
        await self.platform.ok("PUT", self.satellite, "root", json={"algorithms": entries})

    async def refused(self, act: str, **document: Any) -> tuple[int, str]:
        answer = await self.platform.ask("POST", f"{self.launch}/{act}", "root", json=document)
        return answer.status_code, answer.json()["detail"]


@pytest.fixture
async def hello(platform: Platform) -> str:
    await platform.create()
    return (await platform.built()).commit


@pytest.fixture
async def dev(platform: Platform, hello: str) -> Ordering:
    """A launch of joe/hello."""
    satellite = await made(platform, hello)
    return Ordering(platform, satellite, await launched(platform, satellite))


async def deletion(platform: Platform) -> tuple[int, str]:
    answer = await platform.ask("DELETE", HELLO, "joe")
    return answer.status_code, answer.text


async def test_what_serves_until_a_newer_version_is_ready_is_not_deleted(
    deployer: DeployerDouble, platform: Platform, dev: Ordering
) -> None:
    first = await dev.deploy(1)
    deployer.say(first, LaunchState.DEPLOYED, 1)
    assert "it runs with the launches dev; stop them" in (await deletion(platform))[1]
    await platform.create("other")
    await dev.edit(f"joe/other/{(await platform.built('other')).commit}")
    second = await dev.deploy(2)
    serving = "may still serve with the launches dev"
    assert serving in (await deletion(platform))[1], "there is no word of the newest order yet"
    for state in (LaunchState.DEPLOYING, LaunchState.ROLLING_BACK, LaunchState.ROLLED_BACK, LaunchState.FAILED):
        deployer.say(second, state, 1)
        status, words = await deletion(platform)
        assert (status, serving in words) == (409, True), words
    deployer.say(second, LaunchState.DEPLOYED, 2)
    assert (await deletion(platform))[0] == 204


async def test_what_was_replaced_long_ago_can_be_deleted_while_a_newer_version_is_taken_back(
    deployer: DeployerDouble, platform: Platform, dev: Ordering
) -> None:
    await dev.deploy(1)
    for name in ("other", "third"):
        await platform.create(name)
        await dev.edit(f"joe/{name}/{(await platform.built(name)).commit}")
    await dev.deploy(2)
    deployer.say(await dev.deploy(3), LaunchState.ROLLED_BACK, 2)
    assert (await platform.ask("DELETE", "/v1/algorithms/joe/other", "joe")).status_code == 409
    assert (await deletion(platform))[0] == 204


async def test_what_may_serve_is_not_deleted_while_no_deployer_answers(platform: Platform, dev: Ordering) -> None:
    await dev.deploy(1)
    await platform.create("other")
    await dev.edit(f"joe/other/{(await platform.built('other')).commit}")
    await dev.deploy(2)
    status, words = await deletion(platform)
    assert (status, "is not known to be deployed" in words) == (409, True)
    await platform.ok("POST", f"{dev.launch}/stop", "root")
    assert (await deletion(platform))[0] == 204


async def test_what_is_deployed_is_not_deleted_at_the_same_moment(platform: Platform, dev: Ordering) -> None:
    async with platform.registry.database.transaction() as session:
        await store.locked(session, UUID((await platform.ok("GET", HELLO))["id"]))
        both = [
            asyncio.create_task(platform.ask("DELETE", HELLO, "joe")),
            asyncio.create_task(platform.ask("POST", f"{dev.launch}/deploy", "root", json={})),
        ]
        await eventually(partial(waiting, session, 2))
    deleted, deployed = await asyncio.gather(*both)
    assert (deleted.status_code, deployed.status_code) in ((204, 409), (409, 202)), (deleted.text, deployed.text)


async def waiting(session: AsyncSession, count: int) -> bool:
    """So many wait for a lock."""
    found = await session.execute(text("select count(*) from pg_locks where not granted"))
    return bool(found.scalar_one() >= count)


async def test_what_is_paused_is_resumed_before_anything_else_is_ordered(
    deployer: DeployerDouble, platform: Platform, dev: Ordering, hello: str
) -> None:
    await dev.deploy(1)
    await dev.edit(f"joe/hello/{hello}", "other/name")
    await dev.deploy(2)
    await platform.ok("POST", f"{dev.launch}/pause", "root")
    other = await platform.ok("POST", f"{dev.satellite}/launches", "root", json={"name": "other"})
    prod = Ordering(platform, {"id": other["satellite_id"]}, other)
    deployer.say(await prod.deploy(1), LaunchState.DEPLOYED, 1)
    words = "launch 'dev' is paused, so nothing of it is started or ended; resume it first"
    assert await dev.refused("deploy", satellite_version=1) == (409, words)
    assert await dev.refused("rollback") == (409, words)
    assert await prod.refused("promote", to=dev.launch.rpartition("/")[2]) == (409, words)
    shown = (await platform.ok("GET", dev.launch, "root"))["desired"]
    assert (shown["number"], shown["paused"]) == (2, True)
    stopped = await platform.ok("POST", f"{dev.launch}/stop", "root")
    assert (stopped["action"], stopped["paused"]) == ("stop", False)
    assert (await dev.deploy(1))["number"] == 4


async def test_what_is_promoted_is_what_runs(
    deployer: DeployerDouble, platform: Platform, dev: Ordering, hello: str
) -> None:
    first = await dev.deploy(1)
    await dev.edit(f"joe/hello/{hello}", "other/name")
    other = await platform.ok("POST", f"{dev.satellite}/launches", "root", json={"name": "prod"})
    to = {"to": other["id"]}
    assert (await dev.refused("promote", **to))[0] == 409, "its deployment has not begun"
    deployer.say(first, LaunchState.DEPLOYED, 1)
    assert (await platform.ok("POST", f"{dev.launch}/promote", "root", json=to))["satellite_version"] == 1
    second = await dev.deploy(2)
    assert "its deployment has not begun, and version 1 runs" in (await dev.refused("promote", **to))[1]
    deployer.say(second, LaunchState.ROLLED_BACK, 1)
    status, words = await dev.refused("promote", **to)
    assert (status, "ordered to run version 2, but it is rolled back, and version 1 runs" in words) == (409, True)
    deployer.say(second, LaunchState.DEPLOYED, 2)
    assert (await platform.ok("POST", f"{dev.launch}/promote", "root", json=to))["satellite_version"] == 2


async def test_nothing_is_promoted_while_no_deployer_says_what_runs(platform: Platform, dev: Ordering) -> None:
    await dev.deploy(1)
    other = await platform.ok("POST", f"{dev.satellite}/launches", "root", json={"name": "prod"})
    status, words = await dev.refused("promote", to=other["id"])
    assert (status, words) == (503, "no deployer answers, so it is not known what runs of launch 'dev'; try again")
