"""Applications: their versions, what gateways and deployers are told of them, and switches that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts.applications import Application
from libs.common.contracts.launches import LaunchOrder, LaunchState, LaunchStatus, entry_id
from libs.common.db import now
from services.registry.switches import Switches
from tests.service.registry.conftest import Platform
from tests.service.registry.test_versions import another
from tests.support.deployer_double import DeployerDouble

APPLICATIONS = "/admin/v1/applications"
DIGITS = f"{APPLICATIONS}/digits"


@pytest.fixture
async def versions(platform: Platform) -> list[str]:
    """Two built versions of joe/hello."""
    await platform.create()
    first = (await platform.built()).commit
    return [f"joe/hello/{commit}" for commit in (first, await another(platform))]


@pytest.fixture
async def digits(platform: Platform) -> Any:
    return await platform.ok(
        "POST", APPLICATIONS, "root", json={"name": "digits", "default_answer": -1, "latency_goal_ms": 100}
    )


class Deployer:
    """What deployers say of linked versions, and the turns of the loop that listens to them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.states: dict[str, LaunchState] = {}
        self.ready = 1
        self._switches = Switches(platform.registry.database, platform.registry.applications, self._statuses)

    async def turn(self) -> None:
        await self._switches.once()

    async def _statuses(self, ids: Sequence[UUID]) -> dict[UUID, LaunchStatus]:
        orders = [LaunchOrder.model_validate(await told(self.platform, "launches", f"launch:{key}")) for key in ids]
        return {order.launch_id: self._status(order) for order in orders if order.name in self.states}

    def _status(self, order: LaunchOrder) -> LaunchStatus:
        return LaunchStatus(
            launch_id=order.launch_id,
            deployment_id=order.deployment_id,
            number=order.number,
            state=self.states[order.name],
            satellite_version=order.satellite_version,
            ready=self.ready,
            changed_at=now(),
        )


async def told(platform: Platform, feed: str, key: str) -> dict[str, Any] | None:
    page = await platform.ok("GET", f"/internal/feeds/{feed}?since=0", "@gateway")
    found: list[Any] = [one["body"] for one in page["changes"] if one["key"] == key]
    return found[0] if found else None


async def answers(platform: Platform) -> str | None:
    """The version that gateways are told to call."""
    current = Application.model_validate(await told(platform, "applications", "application:digits")).current
    return f"{current.owner}/{current.name}/{current.commit}" if current is not None else None


async def orders(platform: Platform) -> dict[str, tuple[str, int]]:
    """What deployers are told of each version: what to do, and with how many replicas."""
    page = await platform.ok("GET", "/internal/feeds/launches?since=0", "@deployer")
    found = [LaunchOrder.model_validate(one["body"]) for one in page["changes"]]
    assert not any(one.is_addressed for one in found)
    return {one.name: (one.action.value, one.entries[0].replicas) for one in found}


async def link(platform: Platform, version: str, **members: Any) -> Any:
    return await platform.ok("POST", f"{DIGITS}/versions", "root", json={"algorithm": version, **members})


async def set_version(platform: Platform, version: str) -> Any:
    return await platform.ok("POST", f"{DIGITS}/set-version", "root", json={"algorithm": version})


def states(document: Any) -> list[str]:
    return [one["state"] for one in document["versions"]]


async def test_an_application_is_made_changed_listed_and_removed(platform: Platform, digits: Any) -> None:
    assert (digits["address"], digits["current"], digits["versions"]) == ("/v1/algo/applications/digits", None, [])
    said = Application.model_validate(await told(platform, "applications", "application:digits"))
    assert said == Application(name="digits", default_answer=-1, latency_goal_ms=100)
    changed = await platform.ok("PATCH", DIGITS, "root", json={"default_answer": {"digit": None}, "description": "x"})
    assert (changed["default_answer"], changed["latency_goal_ms"]) == ({"digit": None}, 100)
    changed = await platform.ok("PATCH", DIGITS, "root", json={"default_answer": None, "latency_goal_ms": None})
    assert (changed["default_answer"], changed["latency_goal_ms"], changed["description"]) == (None, None, "x")
    said = Application.model_validate(await told(platform, "applications", "application:digits"))
    assert said == Application(name="digits")
    for name in ("alpha", "omega"):
        await platform.ok("POST", APPLICATIONS, "root", json={"name": name})
    page = await platform.ok("GET", f"{APPLICATIONS}?limit=2", "root")
    assert [one["name"] for one in page["items"]] == ["alpha", "digits"]
    rest = await platform.ok("GET", f"{APPLICATIONS}?limit=2&cursor={page['cursor']}", "root")
    assert ([one["name"] for one in rest["items"]], rest["cursor"]) == (["omega"], None)
    assert [one["name"] for one in (await platform.ok("GET", f"{APPLICATIONS}?q=X", "root"))["items"]] == ["digits"]
    for _ in range(2):
        await platform.ok("DELETE", DIGITS, "root")
    assert (await platform.ask("GET", DIGITS, "root")).status_code == 404
    assert await told(platform, "applications", "application:digits") is None
    await platform.ok("POST", APPLICATIONS, "root", json={"name": "digits"})
    acts = await platform.ok("GET", "/admin/v1/audit?subject=digits", "root")
    assert [one["action"].removeprefix("application.") for one in acts["items"]] == [
        "create",
        "remove",
        "edit",
        "edit",
        "create",
    ]


async def test_the_first_version_is_current_and_another_runs_beside_it(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    found = await link(platform, first, replicas=2)
    assert (found["current"], states(found)) == (first, ["starting"])
    found = await link(platform, f"algo://{second}")
    assert (found["current"], [one["is_current"] for one in found["versions"]]) == (first, [True, False])
    assert await answers(platform) == first
    assert await orders(platform) == {first: ("deploy", 2), second: ("deploy", 1)}
    said = Application.model_validate(await told(platform, "applications", "application:digits")).current
    assert said is not None
    page = await platform.ok("GET", "/internal/feeds/launches?since=0", "@deployer")
    [order] = [one["body"] for one in page["changes"] if one["body"]["name"] == first]
    assert said.route == entry_id(UUID(order["launch_id"]), "applications/digits")
    shown = await platform.ok("GET", DIGITS, "root")
    assert (shown["running_known"], shown["versions"][0]["running"]) == (False, None), "no deployer answers here"


async def test_a_version_that_is_ready_is_current_at_once_and_back_again(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    deployer = Deployer(platform)
    await link(platform, first)
    await link(platform, second)
    deployer.states = {first: LaunchState.DEPLOYED, second: LaunchState.DEPLOYED}
    await deployer.turn()
    before = await orders(platform)
    for version in (second, first, second):
        found = await set_version(platform, version)
        assert (found["current"], found["switching_to"], states(found)) == (version, None, ["ready", "ready"])
        assert await answers(platform) == version
    assert await orders(platform) == before, "nothing is deployed"


async def test_a_version_that_starts_becomes_current_when_it_is_ready(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    deployer = Deployer(platform)
    deployer.states = {first: LaunchState.DEPLOYED, second: LaunchState.DEPLOYING}
    await link(platform, first)
    await link(platform, second)
    found = await set_version(platform, second)
    assert (found["current"], found["switching_to"]) == (first, second)
    for _ in range(3):
        await deployer.turn()
    assert await answers(platform) == first
    deployer.states[second] = LaunchState.DEPLOYED
    await deployer.turn()
    assert await answers(platform) == first, "gateways hear of its replicas first"
    await deployer.turn()
    found = await platform.ok("GET", DIGITS, "root")
    assert (found["current"], found["switching_to"], await answers(platform)) == (second, None, second)


async def test_a_version_that_lost_its_replicas_becomes_current_when_one_is_ready(
    deployer: DeployerDouble, platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    turns = Deployer(platform)
    turns.states = {first: LaunchState.DEPLOYED, second: LaunchState.DEPLOYED}
    await link(platform, first)
    await link(platform, second)
    await turns.turn()
    page = await platform.ok("GET", "/internal/feeds/launches?since=0", "@deployer")
    lost = next(one["body"] for one in page["changes"] if one["body"]["name"] == second)
    deployer.say({**lost, "id": lost["deployment_id"]}, LaunchState.DEPLOYED)
    found = await set_version(platform, second)
    assert (found["current"], found["switching_to"], states(found)) == (first, second, ["ready", "starting"])
    turns.ready = 0
    for _ in range(2):
        await turns.turn()
    assert await answers(platform) == first
    turns.ready = 1
    for _ in range(2):
        await turns.turn()
    assert await answers(platform) == second


async def test_what_is_stopped_starts_before_it_is_current_again(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    deployer = Deployer(platform)
    deployer.states = {first: LaunchState.DEPLOYED, second: LaunchState.DEPLOYED}
    await link(platform, first)
    await link(platform, second, replicas=3)
    await deployer.turn()
    found = await platform.ok("POST", f"{DIGITS}/stop-inactive", "root")
    assert (states(found), [one["replicas"] for one in found["versions"]]) == (["ready", "stopped"], [1, 3])
    assert await orders(platform) == {first: ("deploy", 1), second: ("stop", 3)}
    again = await platform.ok("POST", f"{DIGITS}/stop-inactive", "root")
    assert again["versions"] == found["versions"], "it was ordered already"
    found = await set_version(platform, second)
    assert (found["current"], found["switching_to"], states(found)) == (first, second, ["ready", "starting"])
    assert (await orders(platform))[second] == ("deploy", 3)
    busy = await platform.ok("POST", f"{DIGITS}/stop-inactive", "root")
    assert states(busy) == ["ready", "starting"], "what is about to be current is not ended"
    back = await set_version(platform, first)
    assert (back["current"], back["switching_to"]) == (first, None)
    await deployer.turn()
    await deployer.turn()
    assert await answers(platform) == first, "the switch was called off"


async def test_replicas_of_a_version(platform: Platform, digits: Any, versions: list[str]) -> None:
    first, second = versions
    deployer = Deployer(platform)
    deployer.states = {first: LaunchState.DEPLOYED, second: LaunchState.DEPLOYED}
    await link(platform, first)
    await link(platform, second)
    await deployer.turn()
    found = await platform.ok("PATCH", f"{DIGITS}/versions/{first}", "root", json={"replicas": 4})
    assert ([one["replicas"] for one in found["versions"]], states(found)) == ([4, 1], ["ready", "ready"])
    assert (await orders(platform))[first] == ("deploy", 4)
    await platform.ok("POST", f"{DIGITS}/stop-inactive", "root")
    found = await platform.ok("PATCH", f"{DIGITS}/versions/{second}", "root", json={"replicas": 1})
    assert (states(found), (await orders(platform))[second]) == (["ready", "starting"], ("deploy", 1))
    for count in (0, -1, 1001):
        answer = await platform.ask("PATCH", f"{DIGITS}/versions/{first}", "root", json={"replicas": count})
        assert (answer.status_code, "use 1 to 1000" in answer.text) == (422, True)


async def test_unlinking_ends_one_version_and_lets_the_others_run(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    await link(platform, first)
    await link(platform, second)
    refused = await platform.ask("DELETE", f"{DIGITS}/versions/{first}", "root")
    assert (refused.status_code, "is the current version" in refused.text) == (409, True)
    await set_version(platform, second)
    refused = await platform.ask("DELETE", f"{DIGITS}/versions/{second}", "root")
    assert (refused.status_code, "switches to" in refused.text) == (409, True)
    await set_version(platform, first)
    for _ in range(2):
        found = await platform.ok("DELETE", f"{DIGITS}/versions/{second}", "root")
        assert [one["algorithm"] for one in found["versions"]] == [first]
    assert await orders(platform) == {first: ("deploy", 1), second: ("stop", 1)}
    found = await link(platform, second, replicas=2)
    assert (states(found), (await orders(platform))[second]) == (["starting", "starting"], ("deploy", 2))
    await platform.ok("DELETE", DIGITS, "root")
    assert {action for action, _ in (await orders(platform)).values()} == {"stop"}


async def test_what_an_application_cannot_be(platform: Platform, digits: Any, versions: list[str]) -> None:
    async def refused(path: str = "", /, **document: Any) -> tuple[int, str]:
        answer = await platform.ask("POST", f"{APPLICATIONS}{path}", "root", json=document)
        assert not answer.is_success, answer.text
        return answer.status_code, answer.json()["detail"]

    assert (await refused(name="Digits"))[0] == 409
    assert "cannot name an application" in (await refused(name="a/b"))[1]
    assert "cannot name an application" in (await refused(name="x" * 31))[1]
    status, words = await refused(name="large", default_answer="x" * 70_000)
    assert (status, "70002 bytes" in words) == (422, True)
    assert "latency_goal_ms" in (await refused(name="late", latency_goal_ms=0))[1]
    assert (await refused(name="late", latency_goal_ms="soon"))[0] == 400
    assert "OWNER/NAME/HASH" in (await refused("/digits/versions", algorithm="joe/hello"))[1]
    unknown = f"joe/hello/{'0' * 40}"
    assert "no successful build" in (await refused("/digits/versions", algorithm=unknown))[1]
    assert "no algorithm joe/nothing" in (await refused("/digits/versions", algorithm=f"joe/nothing/{'0' * 40}"))[1]
    assert (await refused("/digits/set-version", algorithm=unknown)) == (
        422,
        f"{unknown} is not linked to 'digits'; linked are: none",
    )
    assert (await refused("/nothing/versions", algorithm=versions[0]))[0] == 404
    await link(platform, versions[0])
    assert "is linked to 'digits' already" in (await refused("/digits/versions", algorithm=versions[0]))[1]
    assert versions[0] in (await refused("/digits/set-version", algorithm=versions[1]))[1]
    gone = await platform.ask("DELETE", "/v1/algorithms/joe/hello", "root")
    assert (gone.status_code, "linked to the applications digits" in gone.text) == (409, True)
    assert (await platform.ask("GET", APPLICATIONS, "joe")).status_code == 403


async def test_no_two_things_answer_to_one_reference(platform: Platform, digits: Any, versions: list[str]) -> None:
    platform.fakts.add_organization("applications")
    await platform.create("taken", "applications", "root")
    answer = await platform.ask("POST", APPLICATIONS, "root", json={"name": "Taken"})
    assert (answer.status_code, "name of an algorithm" in answer.text) == (409, True)
    document = {"name": "DIGITS", "details": {"label": "x"}, "settings": {}}
    answer = await platform.ask("POST", "/v1/algorithms/applications", "root", json=document)
    assert (answer.status_code, "is an application" in answer.text) == (409, True)
    entry = {"algorithm": versions[0], "vanity_url": "applications/digits"}
    answer = await platform.ask("POST", "/admin/v1/satellites", "root", json={"name": "s", "algorithms": [entry]})
    assert (answer.status_code, "that of an application" in answer.text) == (422, True)
    satellite = {"name": "s", "algorithms": [entry | {"vanity_url": "applications/vain"}]}
    await platform.ok("POST", "/admin/v1/satellites", "root", json=satellite)
    answer = await platform.ask("POST", APPLICATIONS, "root", json={"name": "vain"})
    assert (answer.status_code, "vanity URL of a satellite" in answer.text) == (409, True)


async def test_asked_twice_with_one_key_is_done_once(platform: Platform, digits: Any, versions: list[str]) -> None:
    header = {"idempotency-key": "k-1"}
    document = {"algorithm": versions[0], "replicas": 2}
    answers = await asyncio.gather(
        *(platform.ask("POST", f"{DIGITS}/versions", "root", json=document, headers=header) for _ in range(3))
    )
    assert [answer.status_code for answer in answers] == [201] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()
    elsewhere = f"{DIGITS}/set-version"
    assert (await platform.ask("POST", elsewhere, "root", json=document, headers=header)).status_code == 422
    answer = await platform.ask("POST", elsewhere, "root", json=document)
    assert answer.status_code == 400, "replicas are no part of that"
    same_key = {"algorithm": versions[1]}
    other = await platform.ask("POST", f"{DIGITS}/versions", "root", json=same_key, headers=header)
    assert other.status_code == 422


async def test_orders_of_many_at_once_do_not_lock_one_another_out(
    platform: Platform, digits: Any, versions: list[str]
) -> None:
    first, second = versions
    await link(platform, first)
    await link(platform, second)
    asked = [
        platform.ok("PATCH", f"{DIGITS}/versions/{version}", "root", json={"replicas": count})
        for count in range(2, 6)
        for version in versions
    ]
    asked += [set_version(platform, version) for version in versions]
    asked += [platform.ok("POST", f"{DIGITS}/stop-inactive", "root")]
    await asyncio.gather(*asked)
    found = await platform.ok("GET", DIGITS, "root")
    said = await orders(platform)
    for one in found["versions"]:
        action, count = said[one["algorithm"]]
        assert (count, action) == (one["replicas"], "stop" if one["state"] == "stopped" else "deploy")
