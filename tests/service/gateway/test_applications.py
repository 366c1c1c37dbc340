"""Calls of applications: what answers, when the default does, and what a switch does to calls under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.applications import Application, CurrentVersion
from libs.common.contracts.catalog import Callability, CatalogEntry
from libs.common.contracts.events import CALLS_TOPIC, CallRecord, CallsRecorded
from libs.common.contracts.identity import Permissions
from tests.service.gateway.client import Reply, call
from tests.service.gateway.conftest import Platform, running_platform
from tests.service.gateway.doubles import Answer, Asked, ReplicaDouble, answer, entry, envelope, revision
from tests.support.eventually import eventually

NAME = "digits"
REFERENCE = f"applications/{NAME}"
DEFAULT = {"digit": -1}


class Digits:
    """The application `digits`, and what the registry says of it. A version is known by the route of its replicas."""

    def __init__(self, platform: Platform, algorithm: CatalogEntry | None = None) -> None:
        self.platform = platform
        self.algorithm = algorithm or platform.echo
        self.current: UUID | None = None

    async def say(self, current: UUID | None = None, **members: Any) -> None:
        """The registry says this now, and the gateway has heard it."""
        self.current = current
        version = None
        if current is not None:
            newest = self.algorithm.revisions[-1]
            version = CurrentVersion(
                owner=self.algorithm.owner,
                name=self.algorithm.name,
                commit=newest.commit,
                algorithm_id=self.algorithm.id,
                revision_id=newest.id,
                route=current,
            )
        said = Application(name=NAME, current=version, **{"default_answer": DEFAULT, **members})
        gateway = self.platform.gateway
        before = gateway.applications.changes
        self.platform.registry.applications.set(f"application:{NAME}", said.model_dump(mode="json"))
        await eventually(lambda: gateway.applications.changes > before)

    async def version(self, **members: Any) -> tuple[UUID, ReplicaDouble]:
        """Another version with one replica."""
        route, double = uuid4(), await self.platform.replica(**members)
        self.platform.deployer.route(route, double.route)
        await eventually(lambda: str(double.id) in str(self.platform.source.routes.entries))
        return route, double

    async def call(self, body: bytes | str = b"x", **options: Any) -> Reply:
        return await self.platform.call(REFERENCE, body, **options)


@pytest.fixture
async def digits(platform: Platform) -> Digits:
    return Digits(platform)


@pytest.fixture
async def records(platform: Platform) -> Any:
    """What was recorded of calls."""
    found: list[CallRecord] = []

    async def hear(message: CallsRecorded) -> None:
        found.extend(message.records)

    async with platform.bus.listen("test", [CALLS_TOPIC], hear, accepts=[CallsRecorded]):
        yield found


def default_reason(reply: Reply) -> str:
    """Why the reply is the default."""
    assert (reply.status, reply.result, reply.json["metadata"]["default"]) == (200, DEFAULT, True)
    assert reply.json["metadata"]["content_type"] == "json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]
    reason: str = reply.json["metadata"]["default_reason"]
    assert reply.headers["x-default-answer"] == reason
    return reason


async def held(release: asyncio.Event, asked: Asked, *, outcome: str = "ok") -> Answer:
    """An answer that comes when the test lets it."""
    await release.wait()
    result = "slow" if outcome == "ok" else {"message": "too hard", "error_type": "AlgorithmError"}
    return envelope(result, asked.headers["x-request-id"], outcome=outcome)


async def test_the_current_version_answers_and_a_switch_is_one_change_of_the_feed(digits: Digits) -> None:
    assert (await digits.call()).status == 404
    one, first = await digits.version()
    two, second = await digits.version()
    await digits.say(one)
    reply = await digits.call(b'"a"')
    assert (reply.result, "default" in reply.json["metadata"]) == ('"a"', False)
    for current, double in ((two, second), (one, first)):
        await digits.say(current)
        before = len(double.calls)
        assert (await digits.call()).status == 200
        assert len(double.calls) == before + 1
    assert (await digits.platform.call(f"algo://{REFERENCE}/")).status == 200
    assert digits.platform.deployer.reports == [], "its replicas are not on demand"
    digits.platform.registry.applications.set(f"application:{NAME}", None)
    await eventually(lambda: digits.platform.gateway.applications.find(REFERENCE) is None)
    assert (await digits.call()).status == 404


async def test_an_error_of_the_algorithm_is_recorded_and_answered_by_the_default(
    digits: Digits, records: list[CallRecord]
) -> None:
    async def fails(asked: Asked) -> Answer:
        message = "too hard" * (1 if asked.body == b"short" else 100_000)
        return envelope({"message": message, "error_type": "AlgorithmError"}, outcome="error")

    version, _ = await digits.version(play=fails)
    await digits.say(version)
    assert default_reason(await digits.call(b"short")) == "the algorithm failed: too hard"
    assert (await digits.call(b"long")).result == DEFAULT, "an error that comes in pieces is replaced too"
    raw = await digits.platform.call(f"{REFERENCE}?output=raw", b"short")
    assert (raw.json, raw.headers["x-default-answer"]) == (DEFAULT, "the algorithm failed: too hard")
    await eventually(lambda: len(records) == 3)
    assert {(one.reference, one.status, one.error_type) for one in records} == {(REFERENCE, 200, "AlgorithmError")}
    assert digits.platform.gateway.calls.tally.defaults == 3
    await digits.say(version, default_answer=None)
    assert (await digits.call(b"short")).error["message"] == "too hard", "without a default it is told as it is"


async def test_over_the_latency_goal_the_default_answers_and_the_call_is_recorded_when_it_ends(
    digits: Digits, records: list[CallRecord]
) -> None:
    release = asyncio.Event()
    version, double = await digits.version(play=lambda asked: held(release, asked))
    await digits.say(version, latency_goal_ms=50)
    client = await digits.platform.client()
    reply = await client.call(REFERENCE, key=digits.platform.key)
    assert default_reason(reply) == "no answer within the latency goal of 50 ms"
    assert (double.running, len(digits.platform.gateway.calls.under_way)) == (1, 1), "it runs on"
    assert default_reason(await client.call(REFERENCE, key=digits.platform.key)), "while one waits for the replica"
    await eventually(lambda: len(records) == 1)
    assert (records[0].status, records[0].error_type) == (504, "TimeoutError"), "nobody waits for it: it is given up"
    release.set()
    await eventually(lambda: len(records) == 2)
    assert (records[1].status, records[1].error_type) == (200, None)
    assert len(double.calls) == 1
    assert not digits.platform.gateway.calls.under_way
    await digits.say(version, latency_goal_ms=60_000)
    assert (await client.call(REFERENCE, key=digits.platform.key)).result == "slow"


async def test_over_the_latency_goal_without_a_default_the_ordinary_error_is_told(digits: Digits) -> None:
    release = asyncio.Event()
    version, double = await digits.version(play=lambda asked: held(release, asked, outcome="error"))
    await digits.say(version, latency_goal_ms=50, default_answer=None)
    reply = await digits.call()
    assert (reply.status, reply.error["error_type"]) == (504, "TimeoutError")
    assert "latency goal" in reply.error["message"]
    assert double.running == 1
    release.set()
    await eventually(lambda: not digits.platform.gateway.calls.under_way)


async def test_an_answer_that_has_begun_is_not_replaced(digits: Digits) -> None:
    more = asyncio.Event()
    whole = answer(b'{"result":"' + b"y" * 300_000 + b'"}')

    async def in_pieces(asked: Asked) -> Answer:
        writer = next(iter(double.writers))
        writer.write(whole[:200_000])
        await writer.drain()
        await more.wait()
        return whole[200_000:]

    version, double = await digits.version(play=in_pieces)
    await digits.say(version, latency_goal_ms=300)
    client = await digits.platform.client()
    await client.write(call(REFERENCE, key=digits.platform.key))
    assert b"200 OK" in await client.head()
    await asyncio.sleep(0.5)  # the goal passes meanwhile
    more.set()
    assert len(await client.reader.readexactly(300_013)) == 300_013
    assert digits.platform.gateway.calls.tally.defaults == 0


async def test_an_error_without_end_is_answered_by_the_default(digits: Digits, records: list[CallRecord]) -> None:
    async def endless(asked: Asked) -> Answer:
        head, _, body = envelope({"message": "m" * 100_000}, outcome="error").partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
        return b"\r\n".join([*lines, b"content-length: 1000000000", b"", body])

    version, replica = await digits.version(play=endless)
    await digits.say(version)
    assert "error that is too long" in default_reason(await digits.call())
    await eventually(lambda: not replica.writers)
    await eventually(lambda: [record.status for record in records] == [500])
    assert not digits.platform.gateway.calls.under_way


async def test_with_no_replica_or_no_version_the_default_answers_at_once(digits: Digits) -> None:
    await digits.say(None)
    assert default_reason(await digits.call()) == f"no version is linked to the application '{NAME}' yet"
    await digits.say(None, default_answer="none")
    reply = await digits.call()
    assert (reply.result, reply.json["metadata"]["content_type"]) == ("none", "text")
    raw = await digits.platform.call(f"{REFERENCE}?output=raw")
    assert (raw.body, raw.headers["content-type"]) == (b"none", "text/plain; charset=utf-8")
    assert (await digits.platform.call(f"{REFERENCE}?output=void")).status == 503
    await digits.say(None, default_answer=None)
    assert (await digits.call()).status == 503
    route = uuid4()
    await digits.say(route)
    assert default_reason(await digits.call()) == "no replica of the current version is ready"
    digits.platform.deployer.route(route, failure="no model")
    await eventually(lambda: str(route) in str(digits.platform.source.routes.entries))
    assert default_reason(await digits.call()) == "no replica of the current version is ready: no model"


async def test_without_a_default_a_call_waits_for_the_first_replica(digits: Digits) -> None:
    route = uuid4()
    await digits.say(route, default_answer=None)
    client = await digits.platform.client()
    await client.write(call(REFERENCE, b"waits", key=digits.platform.key))
    await eventually(lambda: digits.platform.gateway.calls.under_way)
    digits.platform.deployer.route(route, (await digits.platform.replica()).route)
    assert (await client.read()).result == "waits"


async def test_a_replica_that_dies_is_answered_by_the_default(digits: Digits) -> None:
    async def dies(asked: Asked) -> Answer:
        return None

    version, _ = await digits.version(play=dies)
    await digits.say(version)
    assert "was lost during the call" in default_reason(await digits.call())


async def test_a_switch_takes_waiting_calls_along_and_lets_those_that_run_finish(digits: Digits) -> None:
    release = asyncio.Event()
    old, slow = await digits.version(play=lambda asked: held(release, asked))
    new, fast = await digits.version()
    await digits.say(old)
    platform = digits.platform
    running, waiting = await platform.client(), await platform.client()
    await running.write(call(REFERENCE, b"runs", key=platform.key))
    await eventually(lambda: slow.running)
    await waiting.write(call(REFERENCE, b"waits", key=platform.key))
    await eventually(lambda: len(platform.gateway.calls.under_way) == 2)
    await digits.say(new)
    assert (await waiting.read()).result == "waits"
    assert [one.body for one in fast.calls] == [b"waits"]
    release.set()
    assert (await running.read()).result == "slow"
    assert not platform.gateway.calls.under_way


async def test_a_call_that_a_stopped_version_gives_back_goes_to_the_current_one(digits: Digits) -> None:
    stopping = asyncio.Event()

    async def gives_back(asked: Asked) -> Answer:
        await stopping.wait()
        return answer(b"", outcome="unstarted", status="503 Service Unavailable", more="connection: close\r\n")

    old, first = await digits.version(play=gives_back)
    new, second = await digits.version()
    await digits.say(old)
    client = await digits.platform.client()
    await client.write(call(REFERENCE, b"kept", key=digits.platform.key))
    await eventually(lambda: first.running)
    await digits.say(new)
    digits.platform.deployer.route(old)
    await eventually(lambda: str(first.id) not in str(digits.platform.source.routes.entries))
    stopping.set()
    assert (await client.read()).result == "kept"
    assert len(second.calls) == 1


async def test_who_may_call_the_algorithm_may_call_the_application(platform: Platform) -> None:
    own = platform.registry.publish(entry("joe", "own", revision(callability=Callability.PRIVATE)))
    platform.fakts.add_account("ann")
    stranger = platform.fakts.add_key("ann")
    private, public = Digits(platform, own), Digits(platform)
    version, _ = await public.version()
    await public.say(version)
    assert (await public.call(key=stranger)).status == 200
    await private.say(version)
    assert (await private.call()).status == 200
    hidden = await private.call(key=stranger)
    assert (hidden.status, hidden.error["message"]) == (404, f"algorithm algo://{REFERENCE} not found")
    echo_only = Permissions(allow_algo=True, algo_acl=("algo://joe/echo/*",))
    limited = platform.fakts.add_key("joe", permissions=echo_only)
    assert (await private.call(key=limited)).status == 403
    admin = platform.fakts.add_key("joe", admin=True, permissions=Permissions())
    await private.say(None)
    assert (await private.call(key=admin)).status == 403
    assert (await private.call(key="simNOSUCHKEY")).status == 401


async def test_faults_of_the_caller_are_told_to_the_caller(digits: Digits) -> None:
    version, _ = await digits.version()
    await digits.say(version)
    assert (await digits.call(content_type="image/png")).status == 415
    assert (await digits.platform.call(f"{REFERENCE}?timeout=-1")).status == 400
    too_much = b"Content-Length: %d" % (digits.platform.gateway.calls.max_body + 1)
    client = await digits.platform.client()
    head = call(REFERENCE, b"", key=digits.platform.key)
    await client.write(head.replace(b"Content-Length: 0", too_much))
    assert (await client.read()).status == 413


async def test_defaults_are_kept_for_a_start_without_the_other_services(tmp_path: Path) -> None:
    async with running_platform(tmp_path) as platform:
        await platform.start()
        digits = Digits(platform)
        await digits.say(uuid4())
        assert default_reason(await digits.call())
    async with platform.serving():
        assert default_reason(await digits.call())
