"""Orders of launches, with what deployers say of the ones before."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.contracts.launches import LaunchState
from tests.service.registry.conftest import Platform
from tests.service.registry.test_satellites import LAUNCHES, SATELLITES, launched, made
from tests.support.deployer_double import DeployerDouble

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
