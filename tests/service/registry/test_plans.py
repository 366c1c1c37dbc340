"""What a launch runs, for those who follow no feeds."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from libs.common.contracts.satellites import SatellitePlan
from libs.common.directory import Directory, key_hash
from tests.service.registry.conftest import Platform
from tests.service.registry.test_satellites import LAUNCHES, SATELLITES, entry, launched, made, order_of
from tests.service.registry.test_versions import another
from tests.support.eventually import eventually


@pytest.fixture
async def commits(platform: Platform) -> list[str]:
    """Two built commits of joe/hello."""
    await platform.create()
    first = (await platform.built()).commit
    return [first, await another(platform)]


async def plan_of(platform: Platform, launch: Any, deployment: str | None = None) -> SatellitePlan:
    asked = f"/internal/launches/{launch['id']}/plan" + (f"?deployment_id={deployment}" if deployment else "")
    return SatellitePlan.model_validate(await platform.ok("GET", asked, "@deployer"))


async def test_a_plan_is_the_feeds_cut_down_to_one_order(platform: Platform, commits: list[str]) -> None:
    await platform.create("other")
    await platform.built("other")
    satellite = await made(platform, commits[0])
    launch = await launched(platform, satellite)
    first = await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    plan = await plan_of(platform, launch)
    assert plan.order == await order_of(platform, launch)
    assert [(one.name, [revision.commit for revision in one.revisions]) for one in plan.catalog] == [
        ("hello", [commits[0]])
    ], "neither other algorithms nor other revisions"
    directory = Directory()
    for key, body in plan.identity.items():
        directory.apply(key, body)
    joe, ann = platform.keys["joe"], platform.keys["ann"]
    assert directory.principal(joe) == platform.registry.runtime.directory.principal(joe)
    assert directory.principal(ann) is None
    assert set(directory.accounts) == {"joe"}
    assert set(directory.keys) == set(plan.keys.keys)
    assert await plan_of(platform, launch) == plan, "the same order gives the same plan"

    await platform.ok("PUT", f"{SATELLITES}/{satellite['id']}", "root", json={"algorithms": [entry(commits[1])]})
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={"satellite_version": 2})
    newer = await plan_of(platform, launch)
    assert [one.commit for one in newer.order.entries] == [commits[1]]
    assert await plan_of(platform, launch, first["id"]) == plan, "an earlier order can still be asked for"


async def test_a_key_that_was_revoked_since_is_none(platform: Platform, commits: list[str]) -> None:
    launch = await launched(platform, await made(platform, commits[0]))
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    digest = key_hash(platform.keys["joe_calls"])
    platform.fakts.revoke_key(platform.keys["joe_calls"])

    async def gone() -> bool:
        return digest not in platform.registry.runtime.directory.keys

    await eventually(gone)
    plan = await plan_of(platform, launch)
    assert digest in plan.keys.keys, "the order stays as it was"
    assert f"key:{digest}" not in plan.identity


async def test_there_is_no_plan_of_what_was_never_ordered_or_is_gone(platform: Platform, commits: list[str]) -> None:
    launch = await launched(platform, await made(platform, commits[0]))
    address = f"/internal/launches/{launch['id']}/plan"
    assert (await platform.ask("GET", address, "@deployer")).status_code == 404
    assert (await platform.ask("GET", address, "root")).status_code == 403
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    assert (await platform.ask("GET", f"{address}?deployment_id={uuid4()}", "@deployer")).status_code == 404
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/stop", "root")
    await platform.ok("DELETE", "/v1/algorithms/joe/hello", "root")
    answer = await platform.ask("GET", address, "@deployer")
    assert (answer.status_code, "does not exist any more" in answer.text) == (409, True)
