"""Satellites, their versions, launch instances, and the orders that deployers follow."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from libs.common.contracts.jobs import DEPLOY_QUEUE, LaunchChanged
from libs.common.contracts.launches import KeySet, LaunchOrder, LaunchState
from libs.common.directory import key_hash
from tests.service.registry.conftest import Platform
from tests.service.registry.test_versions import another
from tests.support.deployer_double import DeployerDouble
from tests.support.eventually import eventually

SATELLITES = "/admin/v1/satellites"
LAUNCHES = "/admin/v1/launches"


@pytest.fixture
async def commits(platform: Platform) -> list[str]:
    """Two built commits of joe/hello."""
    await platform.create()
    first = (await platform.built()).commit
    return [first, await another(platform)]


def entry(commit: str, vanity: str = "foo/bar", replicas: int = 2) -> dict[str, Any]:
    return {"algorithm": f"joe/hello/{commit}", "vanity_url": vanity, "replicas": replicas}


async def made(platform: Platform, commit: str, name: str = "edge") -> Any:
    return await platform.ok("POST", SATELLITES, "root", json={"name": name, "algorithms": [entry(commit)]})


async def launched(platform: Platform, satellite: Any, name: str = "dev", **more: Any) -> Any:
    return await platform.ok("POST", f"{SATELLITES}/{satellite['id']}/launches", "root", json={"name": name, **more})


async def told(platform: Platform, key: str) -> dict[str, Any] | None:
    """What the feed `launches` says under a key."""
    page = await platform.ok("GET", "/internal/feeds/launches?since=0", "@deployer")
    found: list[Any] = [one["body"] for one in page["changes"] if one["key"] == key]
    return found[0] if found else None


async def order_of(platform: Platform, launch: Any) -> LaunchOrder:
    return LaunchOrder.model_validate(await told(platform, f"launch:{launch['id']}"))


async def test_each_edit_of_the_algorithms_makes_a_version_that_stays(platform: Platform, commits: list[str]) -> None:
    first, second = commits
    satellite = await made(platform, first)
    assert (satellite["version"], satellite["algorithms"]) == (1, [entry(first)])
    address = f"{SATELLITES}/{satellite['id']}"
    same = await platform.ok("PUT", address, "root", json={"name": "rim", "algorithms": [entry(first)]})
    assert (same["version"], same["name"]) == (1, "rim")
    edited = await platform.ok("PUT", address, "root", json={"algorithms": [entry(second), entry(first, "a/b", 1)]})
    assert (edited["version"], edited["name"], edited["running"]) == (2, "rim", [])
    listed = await platform.ok("GET", f"{address}/versions?limit=1", "root")
    assert [one["version"] for one in listed["items"]] == [2]
    rest = await platform.ok("GET", f"{address}/versions?limit=1&cursor={listed['cursor']}", "root")
    assert ([one["algorithms"] for one in rest["items"]], rest["cursor"]) == ([[entry(first)]], None)
    assert (await platform.ok("GET", f"{address}/versions/1", "root"))["algorithms"] == [entry(first)]
    assert (await platform.ask("GET", f"{address}/versions/3", "root")).status_code == 404
    assert [one["name"] for one in (await platform.ok("GET", f"{SATELLITES}?q=RI", "root"))["items"]] == ["rim"]
    assert (await platform.ok("GET", f"{SATELLITES}?q=x", "root"))["items"] == []


@pytest.mark.parametrize("names", [["Äpfel", "Öl", "Zeta"], ["ΑΣ", "ΑΣΑ", "Ω"], ["İa", "b"]])
async def test_pages_have_each_satellite_and_launch_once_whatever_its_letters(
    platform: Platform, commits: list[str], names: list[str]
) -> None:
    satellites = [await made(platform, commits[0], name) for name in names]
    for name in names:
        await launched(platform, satellites[0], name)
    for address in (SATELLITES, LAUNCHES):
        whole = [one["name"] for one in (await platform.ok("GET", address, "root"))["items"]]
        assert sorted(whole) == sorted(names)
        found, cursor = [], ""
        for _ in range(len(names)):
            page = await platform.ok("GET", f"{address}?limit=1{cursor}", "root")
            found += [one["name"] for one in page["items"]]
            cursor = f"&cursor={page['cursor']}"
        assert (found, page["cursor"]) == (whole, None)
        for name in names:
            items = (await platform.ok("GET", f"{address}?q={quote(name)}", "root"))["items"]
            assert name in [one["name"] for one in items]


async def test_two_who_edit_at_once_do_not_overwrite_each_other(platform: Platform, commits: list[str]) -> None:
    first, second = commits
    satellite = await made(platform, first)
    address = f"{SATELLITES}/{satellite['id']}"
    change = {"algorithms": [entry(second)]}
    read = await platform.ask("GET", address, "root")
    assert read.headers["etag"] == '"1"'
    based = {"if-match": read.headers["etag"]}
    both = [change, {"algorithms": [entry(second, "a/b")]}]
    answers = [platform.ask("PUT", address, "root", json=one, headers=based) for one in both]
    assert sorted([answer.status_code for answer in await asyncio.gather(*answers)]) == [200, 412]
    assert (await platform.ask("GET", address, "root")).headers["etag"] == '"2"'
    assert len((await platform.ok("GET", f"{address}/versions", "root"))["items"]) == 2

    for stale in ('"1"', '"1", W/"2"', 'W/"2"', '"7"'):
        refused = await platform.ask("PUT", address, "root", json={"name": "rim"}, headers={"if-match": stale})
        assert refused.status_code == 412
        assert refused.headers["content-type"] == "application/problem+json"
        assert "'edge' is at version 2 by now" in refused.json()["detail"]
        assert "read the satellite again" in refused.json()["detail"]
    for unread in ("2", '"2', ""):
        refused = await platform.ask("PUT", address, "root", json={"name": "rim"}, headers={"if-match": unread})
        assert (refused.status_code, 'such as "2"' in refused.json()["detail"]) == (400, True)
    assert (await platform.ok("GET", address, "root"))["name"] == "edge"
    for number, held in enumerate(('"2"', '"1", "2"', "*")):
        name = f"rim{number}"
        changed = await platform.ok("PUT", address, "root", json={"name": name}, headers={"if-match": held})
        assert changed["name"] == name
    missing = f"{SATELLITES}/00000000-0000-0000-0000-000000000000"
    answer = await platform.ask("PUT", missing, "root", json=change, headers={"if-match": "*"})
    assert answer.status_code == 404


async def test_an_edit_that_is_asked_again_is_answered_again(platform: Platform, commits: list[str]) -> None:
    address = f"{SATELLITES}/{(await made(platform, commits[0]))['id']}"
    asked = {"if-match": '"1"', "idempotency-key": "once"}
    change = {"algorithms": [entry(commits[1])]}
    done = await platform.ok("PUT", address, "root", json=change, headers=asked)
    assert await platform.ok("PUT", address, "root", json=change, headers=asked) == done


async def test_what_the_document_says_of_preconditions(platform: Platform) -> None:
    path = platform.app.openapi()["paths"][f"{SATELLITES}/{{satellite_id}}"]
    assert path["get"]["responses"]["200"]["headers"]["ETag"]["schema"] == {"type": "string"}
    assert [*path["put"]["responses"]["412"]["content"]] == ["application/problem+json"]
    assert "if-match" in [one["name"] for one in path["put"]["parameters"] if one["in"] == "header"]


async def test_a_version_fixes_the_keys_it_accepts(platform: Platform, commits: list[str]) -> None:
    satellite = await made(platform, commits[0])
    launch = await launched(platform, satellite)
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    order = await order_of(platform, launch)
    keys = KeySet.model_validate(await told(platform, f"keys:{order.keys}")).keys
    callers = {name for name, raw in platform.keys.items() if key_hash(raw) in keys}
    assert callers == {"joe", "joe_calls"}, "the algorithm is private: ann may not call it, and root has an admin key"
    assert keys[key_hash(platform.keys["joe"])] == "joe"
    fresh = platform.fakts.add_key("joe")
    await eventually(lambda: _known(platform, fresh))
    renewed = await platform.ok("POST", f"{SATELLITES}/{satellite['id']}/versions", "root", json={})
    assert renewed["version"] == 2
    assert (await order_of(platform, launch)).keys == order.keys, "what is deployed keeps its keys"
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={"satellite_version": 2})
    newer = await order_of(platform, launch)
    assert key_hash(fresh) in KeySet.model_validate(await told(platform, f"keys:{newer.keys}")).keys


async def _known(platform: Platform, raw: str) -> bool:
    return key_hash(raw) in platform.registry.runtime.directory.keys


async def test_what_a_satellite_cannot_hold(platform: Platform, commits: list[str]) -> None:
    async def words(*algorithms: dict[str, Any]) -> str:
        answer = await platform.ask("POST", SATELLITES, "root", json={"name": "bad", "algorithms": list(algorithms)})
        assert answer.status_code == 422, answer.text
        return str(answer.json()["detail"])

    assert "no successful build" in await words(entry("0" * 40))
    assert "no algorithm joe/nothing" in await words({**entry(commits[0]), "algorithm": f"joe/nothing/{commits[0]}"})
    assert "is the name of an algorithm" in await words(entry(commits[0], "JOE/Hello"))
    assert "that of algorithms[0] too" in await words(entry(commits[0]), entry(commits[1]))
    assert "leave the algorithm out" in await words(entry(commits[0], replicas=0))
    assert "1 to 1000" in await words(entry(commits[0], replicas=10**6))
    assert (await platform.ok("GET", SATELLITES, "root"))["items"] == [], "nothing is half made"
    await made(platform, commits[0])
    again = {"name": "EDGE", "algorithms": [entry(commits[0])]}
    assert (await platform.ask("POST", SATELLITES, "root", json=again)).status_code == 409
    taken = {"name": "bar", "details": {"label": "x"}, "settings": {}}
    platform.fakts.add_account("foo")
    assert (await platform.ask("POST", "/v1/algorithms/foo", "root", json=taken)).status_code in (400, 409)


async def test_a_launch_is_configuration_until_it_is_deployed(platform: Platform, commits: list[str]) -> None:
    satellite = await made(platform, commits[0])
    launch = await launched(platform, satellite, description="for trying", target={"kind": "workers"})
    assert (launch["satellite_version"], launch["desired"], launch["running"]) == (1, None, None)
    assert await told(platform, f"launch:{launch['id']}") is None
    answer = await platform.ask("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    assert answer.status_code == 202
    deployment = answer.json()
    order = await order_of(platform, launch)
    assert str(order.deployment_id) == deployment["id"]
    assert [(one.vanity_url, one.commit, one.replicas) for one in order.entries] == [("foo/bar", commits[0], 2)]

    await platform.ok("PUT", f"{SATELLITES}/{satellite['id']}", "root", json={"algorithms": [entry(commits[1])]})
    patch = {"satellite_version": 2, "name": "stage"}
    edited = await platform.ok("PATCH", f"{LAUNCHES}/{launch['id']}", "root", json=patch)
    assert (edited["satellite_version"], edited["desired"]["satellite_version"]) == (2, 1)
    assert await order_of(platform, launch) == order, "editing orders nothing"
    await platform.ok("DELETE", f"{LAUNCHES}/{launch['id']}", "root")
    assert (await platform.ask("GET", f"{LAUNCHES}/{launch['id']}", "root")).status_code == 404
    assert await order_of(platform, launch) == order, "neither does removing"
    await platform.ok("DELETE", f"{LAUNCHES}/{launch['id']}", "root")
    stopped = await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/stop", "root")
    assert (stopped["action"], stopped["satellite_version"]) == ("stop", 1)
    assert (await order_of(platform, launch)).action == "stop"
    again = await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/stop", "root")
    assert again["id"] == stopped["id"], "it was ordered already"


async def test_side_by_side_rolled_back_and_promoted(
    deployer: DeployerDouble, platform: Platform, commits: list[str]
) -> None:
    satellite = await made(platform, commits[0])
    dev, prod = await launched(platform, satellite, "dev"), await launched(platform, satellite, "prod")
    other = await launched(platform, await made(platform, commits[0], "other"), "dev")
    await platform.ok("POST", f"{LAUNCHES}/{prod['id']}/deploy", "root", json={})
    await platform.ok("PUT", f"{SATELLITES}/{satellite['id']}", "root", json={"algorithms": [entry(commits[1])]})
    promote = {"to": prod["id"]}
    assert (await platform.ask("POST", f"{LAUNCHES}/{dev['id']}/promote", "root", json=promote)).status_code == 409
    ordered = await platform.ok("POST", f"{LAUNCHES}/{dev['id']}/deploy", "root", json={"satellite_version": 2})
    deployer.say(ordered, LaunchState.DEPLOYED, 2)
    assert (
        (await order_of(platform, dev)).satellite_version,
        (await order_of(platform, prod)).satellite_version,
    ) == (2, 1)
    wrong = {"to": other["id"]}
    assert (await platform.ask("POST", f"{LAUNCHES}/{dev['id']}/promote", "root", json=wrong)).status_code == 422
    promoted = await platform.ok("POST", f"{LAUNCHES}/{dev['id']}/promote", "root", json=promote)
    assert (promoted["launch_id"], promoted["satellite_version"]) == (prod["id"], 2)
    assert (promoted["promoted_from"], promoted["by"]) == (dev["id"], "root")
    back = await platform.ok("POST", f"{LAUNCHES}/{prod['id']}/rollback", "root", json={})
    assert back["satellite_version"] == 1
    assert (await platform.ask("POST", f"{LAUNCHES}/{dev['id']}/rollback", "root", json={})).status_code == 409
    history = (await platform.ok("GET", f"{LAUNCHES}/{prod['id']}/orders", "root"))["items"]
    assert [(one["number"], one["satellite_version"]) for one in history] == [(3, 1), (2, 2), (1, 1)]
    paused = await platform.ok("POST", f"{LAUNCHES}/{prod['id']}/pause", "root")
    assert (paused["paused"], (await order_of(platform, prod)).paused) == (True, True)
    first = await order_of(platform, prod)
    await platform.ok("POST", f"{LAUNCHES}/{prod['id']}/pause", "root")
    assert await order_of(platform, prod) == first, "it is paused already"
    await platform.ok("POST", f"{LAUNCHES}/{prod['id']}/resume", "root")
    resumed = await order_of(platform, prod)
    assert (resumed.paused, first.is_older_than(resumed)) == (False, True)
    acts = await platform.ok("GET", "/admin/v1/audit?action=launch.deploy", "root")
    assert any("promoted from" in (one["detail"] or "") for one in acts["items"])
    assert (await platform.ask("DELETE", f"{SATELLITES}/{satellite['id']}", "root")).status_code == 409


async def test_what_a_launch_cannot_be(platform: Platform, commits: list[str]) -> None:
    satellite = await made(platform, commits[0])
    address = f"{SATELLITES}/{satellite['id']}/launches"

    async def refused(**document: Any) -> tuple[int, str]:
        answer = await platform.ask("POST", address, "root", json={"name": "dev", **document})
        return answer.status_code, answer.json()["detail"]

    assert await refused(satellite_version=7) == (422, "satellite 'edge' has no version 7; its newest is 1")
    assert (
        "target.kubernetes.namespace" in (await refused(target={"kind": "kubernetes", "namespace": "Not legal"}))[1]
    )
    assert (await refused(target={"kind": "moon"}))[0] == 422
    strange = await refused(target={"kind": "workers", "gpu": 1})
    assert strange == (422, "target: a target of kind 'workers' has no gpu")
    cluster = await launched(platform, satellite, "cluster", target={"kind": "kubernetes", "namespace": "prod"})
    answer = await platform.ask("POST", f"{LAUNCHES}/{cluster['id']}/deploy", "root", json={})
    assert (answer.status_code, "name the repository" in answer.text) == (422, True)
    there = {"kind": "kubernetes", "namespace": "prod", "container_registry": "registry.test/images"}
    await platform.ok("PATCH", f"{LAUNCHES}/{cluster['id']}", "root", json={"target": there})
    await platform.ok("POST", f"{LAUNCHES}/{cluster['id']}/deploy", "root", json={})
    for elsewhere, words in (
        ({"kind": "workers"}, "to run on workers"),
        ({**there, "namespace": "other"}, "to run in namespace 'other' of cluster 'in-cluster'"),
    ):
        await platform.ok("PATCH", f"{LAUNCHES}/{cluster['id']}", "root", json={"target": elsewhere})
        answer = await platform.ask("POST", f"{LAUNCHES}/{cluster['id']}/deploy", "root", json={})
        assert answer.status_code == 409
        assert "runs in namespace 'prod' of cluster 'in-cluster'; stop it before" in answer.json()["detail"]
        assert words in answer.json()["detail"]
    await platform.ok("POST", f"{LAUNCHES}/{cluster['id']}/stop", "root")
    await platform.ok("POST", f"{LAUNCHES}/{cluster['id']}/deploy", "root", json={})
    await platform.ok("POST", f"{LAUNCHES}/{cluster['id']}/stop", "root")
    bundle = await launched(platform, satellite, "offline", target={"kind": "bundle"})
    answer = await platform.ask("POST", f"{LAUNCHES}/{bundle['id']}/deploy", "root", json={})
    assert answer.status_code == 422
    assert "get KEY" in answer.json()["detail"]
    assert (await refused(name="OFFLINE"))[0] == 409
    launch = await launched(platform, satellite)
    assert (await platform.ask("POST", f"{LAUNCHES}/{launch['id']}/stop", "root")).status_code == 409
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    gone = await platform.ask("DELETE", "/v1/algorithms/joe/hello", "root")
    assert gone.status_code == 409
    assert "dev" in gone.text
    await platform.ok("POST", f"{LAUNCHES}/{launch['id']}/stop", "root")
    await platform.ok("DELETE", "/v1/algorithms/joe/hello", "root")
    answer = await platform.ask("POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={})
    assert (answer.status_code, "does not exist any more" in answer.text) == (409, True)
    assert (await platform.ask("POST", f"{LAUNCHES}/{launch['id']}/deploy", "joe", json={})).status_code == 403


async def test_asked_twice_with_one_key_is_done_once_and_a_job_tells_deployers(
    platform: Platform, commits: list[str]
) -> None:
    heard: list[LaunchChanged] = []

    async def hear(job: LaunchChanged) -> None:
        heard.append(job)

    header = {"idempotency-key": "k-1"}
    document = {"name": "edge", "algorithms": [entry(commits[0])]}
    answers = await asyncio.gather(
        *(platform.ask("POST", SATELLITES, "root", json=document, headers=header) for _ in range(3))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await platform.ask("POST", SATELLITES, "root", json={**document, "name": "x"}, headers=header)
    assert other.status_code == 422
    async with platform.bus.consume(DEPLOY_QUEUE, hear, accepts=[LaunchChanged]):
        launch = await launched(platform, answers[0].json())
        deploys = [
            await platform.ok(
                "POST", f"{LAUNCHES}/{launch['id']}/deploy", "root", json={}, headers={"idempotency-key": "k-2"}
            )
            for _ in range(2)
        ]
        assert deploys[0] == deploys[1]

        async def arrived() -> bool:
            return bool(heard)

        await eventually(arrived)
    assert [str(job.deployment_id) for job in heard] == [deploys[0]["id"]]
