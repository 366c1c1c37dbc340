"""Bundles of launches: made when their images are, the same each time, with the secrets, for administrators only."""

from __future__ import annotations

from typing import Any

import pytest

from constellation.bundle import content, signature
from libs.common.contracts.bundles import Bundle, SatelliteSecrets
from libs.common.contracts.satellites import SatellitePlan
from tests.service.registry.conftest import Platform
from tests.service.registry.test_images import claimed, finished, made, ordered
from tests.service.registry.test_satellites import LAUNCHES, SATELLITES, entry, launched
from tests.service.registry.test_satellites import made as satellite_of
from tests.service.registry.test_versions import another
from tests.support.eventually import eventually

SECRET = {"short_name": "t", "secret_key": "TOKEN", "secret_value": "a value that nobody may see"}


@pytest.fixture
async def commits(platform: Platform) -> list[str]:
    """Two built commits of joe/hello."""
    await platform.create()
    first = (await platform.built()).commit
    return [first, await another(platform)]


async def offline(platform: Platform, commit: str) -> tuple[Any, Any]:
    """A satellite and a launch of it that is to be carried away."""
    satellite = await satellite_of(platform, commit)
    return satellite, await launched(platform, satellite, "offline", target={"kind": "bundle"})


async def bundle_of(platform: Platform, launch: Any) -> Bundle:
    return Bundle.model_validate(await platform.ok("GET", f"{LAUNCHES}/{launch['id']}/bundle", "root"))


async def test_it_is_made_of_what_the_launch_is_configured_with(platform: Platform, commits: list[str]) -> None:
    algorithm = await platform.ok("GET", "/v1/algorithms/joe/hello")
    await platform.ok("POST", f"/v1/algorithms/{algorithm['id']}/secrets", json=SECRET)
    satellite, launch = await offline(platform, commits[0])
    address = f"{LAUNCHES}/{launch['id']}/bundle"
    early = await platform.ask("GET", address, "root")
    assert (early.status_code, early.headers["retry-after"]) == (202, "2")
    assert any("the image for gateways waits for a worker" in one for one in early.json()["waiting"])
    assert f"the image of joe/hello/{commits[0]} waits for a worker" in early.json()["waiting"]
    await made(platform, b"gateway", gateway=True)
    await made(platform, b"algorithm", algorithm=f"joe/hello/{commits[0]}")

    answer = await platform.ask("GET", address, "root")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    bundle = Bundle.model_validate_json(answer.content)
    signed = signature.read(bundle.signature.encode(), "it")
    index = content.read(platform.folder, bundle.index.encode(), signed).index
    assert (str(index.satellite_id), str(index.launch_id)) == (satellite["id"], launch["id"])
    plan = SatellitePlan.model_validate_json(bundle.files["plan.json"])
    assert [one.commit for one in plan.order.entries] == [commits[0]]
    assert (plan.order.target.kind, len(plan.images), plan.gateway_image is not None) == ("bundle", 1, True)
    secrets = SatelliteSecrets.model_validate_json(bundle.files["secrets.json"])
    assert [dict(one) for one in secrets.algorithms.values()] == [{"TOKEN": SECRET["secret_value"]}]
    blobs = [file for file in index.files if file.is_blob]
    assert len(blobs) == 6, "manifest, config and layer of each"
    for file in blobs:
        answer = await platform.ask("GET", f"/admin/v1/images/blobs/sha256:{file.sha256}", "root")
        assert len(answer.content) == file.size
    assert await bundle_of(platform, launch) == bundle, "the same each time"
    assert SECRET["secret_value"] not in bundle.index

    await platform.ok("PUT", f"{SATELLITES}/{satellite['id']}", "root", json={"algorithms": [entry(commits[1])]})
    assert await bundle_of(platform, launch) == bundle, "the launch names its version"
    await platform.ok("PATCH", f"{LAUNCHES}/{launch['id']}", "root", json={"satellite_version": 2})
    await made(platform, b"another", algorithm=f"joe/hello/{commits[1]}")
    newer = await bundle_of(platform, launch)
    assert newer.index != bundle.index
    assert newer.files["secrets.json"] == bundle.files["secrets.json"]

    async def recorded() -> Any:
        return (await platform.ok("GET", "/admin/v1/audit?action=launch.bundle", "root"))["items"]

    acts = await eventually(recorded)
    assert (acts[0]["actor"], acts[0]["subject"]) == ("root", f"offline ({launch['id']})")


async def test_what_cannot_be_made_is_said(platform: Platform, commits: list[str]) -> None:
    _, launch = await offline(platform, commits[0])
    await made(platform, b"gateway", gateway=True)
    image = await ordered(platform, algorithm=f"joe/hello/{commits[0]}")
    await finished(platform, await claimed(platform, image["id"]), reason="the base image holds Python 2")
    answer = await platform.ask("GET", f"{LAUNCHES}/{launch['id']}/bundle", "root")
    assert answer.status_code == 409
    assert "failed: the base image holds Python 2" in answer.json()["detail"]


async def test_it_is_for_administrators(platform: Platform, commits: list[str]) -> None:
    _, launch = await offline(platform, commits[0])
    for who, status in (("joe", 403), ("@gateway", 403), (None, 401)):
        assert (await platform.ask("GET", f"{LAUNCHES}/{launch['id']}/bundle", who)).status_code == status
    assert (await platform.ask("GET", f"{LAUNCHES}/{commits[0][:32]}/bundle", "root")).status_code == 404
