"""The gateway with real replicas: the platform's runner around algorithms that the test writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from libs.common.contracts.replicas import Address, RouteReplica
from libs.common.hosts import host_id
from tests.service.gateway.conftest import Platform
from tests.support.eventually import eventually
from tests.support.replica import Replica

CODE = """
import json, os, time, urllib.request

def apply(input):
    if not isinstance(input, dict):
        return input
    time.sleep(input.get("sleep", 0))
    if "exit" in input:
        os._exit(input["exit"])
    if "raise" in input:
        raise ValueError(input["raise"])
    if "print" in input:
        print(input["print"])
    if "call" in input:
        request = urllib.request.Request(
            os.environ["ALGORITHMIA_API"] + "/v1/algo/" + input["call"],
            json.dumps(input["input"]).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())
    return os.getpid()
"""


class Runners:
    """Real replicas of `joe/echo`."""

    def __init__(self, platform: Platform, stack: ExitStack) -> None:
        self._platform = platform
        self._stack = stack

    async def start(self) -> tuple[Replica, RouteReplica]:
        folder = self._platform.folder / f"runner-{uuid4().hex[:6]}"
        started = await asyncio.to_thread(lambda: Replica(folder, CODE, gateways=[self._platform.url]).__enter__())
        self._stack.callback(started.__exit__, None, None, None)
        address = Address(host_id=host_id(), unix=str(started.place / "call.sock"))
        return started, RouteReplica(id=uuid4(), address=address)

    async def route(self, *replicas: RouteReplica) -> None:
        revision = self._platform.echo.revisions[0].id
        self._platform.deployer.route(revision, *replicas)
        named = str(replicas[-1].id)
        await eventually(lambda: named in str(self._platform.source.routes.entries))


@pytest.fixture
def runners(platform: Platform) -> Iterator[Runners]:
    with ExitStack() as stack:
        yield Runners(platform, stack)


def as_json(value: object) -> dict[str, str]:
    return {"body": json.dumps(value), "content_type": "application/json"}


async def test_values_errors_and_output_of_a_real_algorithm(platform: Platform, runners: Runners) -> None:
    _, route = await runners.start()
    await runners.route(route)
    assert (await platform.call(body="text ☎")).result == "text ☎"
    assert (await platform.call(**as_json([1, None, {"a": "ü"}]))).json["metadata"]["content_type"] == "json"
    binary = await platform.call(body=b"\x00\xff", content_type="application/octet-stream")
    assert (binary.result, binary.json["metadata"]["content_type"]) == ("AP8=", "binary")
    raw = await platform.call("joe/echo?output=raw", body=b"\x00\xff", content_type="application/octet-stream")
    assert (raw.body, raw.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")
    printed = await platform.call("joe/echo?stdout=true", **as_json({"print": "to the owner"}))
    assert "to the owner" in printed.json["metadata"]["stdout"]
    raised = await platform.call(**as_json({"raise": "boom"}))
    assert (raised.status, raised.error["message"]) == (200, "boom")
    assert "ValueError: boom" in raised.error["stacktrace"]
    assert (await platform.call(body="{", content_type="application/json")).status == 400
    large = "z" * (9 << 20)
    assert (await platform.call(body=large)).result == large


async def test_death_and_timeout_of_a_real_algorithm_leave_it_usable(platform: Platform, runners: Runners) -> None:
    _, route = await runners.start()
    await runners.route(route)
    died = await platform.call(**as_json({"exit": 3}))
    assert (died.status, died.error["error_type"]) == (200, "SystemExit")
    assert (await platform.call(body="alive")).result == "alive"
    late = await platform.call("joe/echo?timeout=2", **as_json({"sleep": 300}))
    assert (late.status, late.error["error_type"]) == (200, "TimeoutError")
    assert (await platform.call(body="alive")).result == "alive"


async def test_calls_sent_ahead_survive_the_death_of_the_process(platform: Platform, runners: Runners) -> None:
    _, route = await runners.start()
    await runners.route(route)
    client = await platform.client()
    for _ in range(600):
        assert (await client.call("joe/echo", key=platform.key)).status == 200
    dying = asyncio.create_task(platform.call(**as_json({"sleep": 1, "exit": 3})))
    await eventually(lambda: platform.gateway.calls.under_way)
    ahead = [asyncio.create_task(platform.call(body=f"{number}")) for number in range(8)]
    assert (await dying).error["error_type"] == "SystemExit"
    assert {(await one).result for one in ahead} == {f"{number}" for number in range(8)}


async def test_a_replica_that_drains_hands_its_calls_to_another(platform: Platform, runners: Runners) -> None:
    (first, old), (_, new) = await runners.start(), await runners.start()
    await runners.route(old)
    running = asyncio.create_task(platform.call(**as_json({"sleep": 1})))
    await eventually(lambda: platform.gateway.calls.under_way)
    waiting = [asyncio.create_task(platform.call(body=f"{number}")) for number in range(3)]
    await asyncio.to_thread(first.control, "POST", "/drain")
    await runners.route(old, new)
    assert (await running).status == 200
    assert {(await one).result for one in waiting} == {"0", "1", "2"}


async def test_an_algorithm_calls_another_through_its_door(platform: Platform, runners: Runners) -> None:
    (_, one), (_, two) = await runners.start(), await runners.start()
    await runners.route(one, two)
    reply = await platform.call(**as_json({"call": "joe/echo", "input": ["inner"]}))
    assert reply.result["result"] == ["inner"]
    assert reply.result["request_id"] != reply.json["request_id"]
