"""Coming up, going on while others are down, and what is recorded and counted."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from constellation.server import ServiceFailed
from libs.common.contracts.events import CALLS_TOPIC, CallRecord, CallsRecorded
from services.gateway.calls import Record
from tests.service.gateway.client import Client, call
from tests.service.gateway.conftest import Platform, nonsense_key, running_platform
from tests.service.gateway.doubles import Answer, Asked, envelope
from tests.support.eventually import eventually


async def test_a_gateway_joins_with_its_address_and_keeps_its_name(surroundings: Platform) -> None:
    fakts = surroundings.fakts
    async with surroundings.serving() as url:
        [(instance_id, offer)] = fakts.leases.items()
        assert offer.service == "constellation.gateway"
        assert [alias.url for alias in offer.aliases] == [url]
        assert {need.key for need in offer.requirements} == {"fakts", "registry", "deployer"}
    assert not fakts.leases
    async with surroundings.serving():
        await eventually(lambda: list(fakts.leases) == [instance_id])


async def test_a_first_start_with_a_wrong_token_fails(surroundings: Platform) -> None:
    with pytest.raises(ServiceFailed):
        await surroundings.start(join_token="wrong")


async def test_calls_go_on_when_all_else_is_down_and_after_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as outer:
        async with running_platform(tmp_path) as platform:
            replica = await outer.enter_async_context((await platform.replica()).serve(tmp_path))
            platform.route(replica)
            await platform.start()
            signed_in = platform.fakts.user_token("joe")
            assert (await platform.call(body="before", key=f"Bearer {signed_in}")).result == "before"
            assert (await platform.call(body="before")).result == "before"
            await eventually(lambda: platform.source.routes.entries)
        async with platform.serving():
            assert (await platform.call(body="after")).result == "after"
            assert (await platform.call(body="after", key=f"Bearer {signed_in}")).result == "after"
            chained = replica.calls[-1].headers["x-caller"]
            assert (await platform.call(body="chained", key=chained)).result == "chained"
            assert (await platform.call(key=nonsense_key())).status == 401
            assert (await platform.call("joe/absent")).status == 404
            reply = await platform.request("GET", "/v1/algorithms/joe/echo")
            assert (reply.status, "retry-after" in reply.headers) == (503, True)
            ready = await platform.request("GET", "/readyz")
            assert (ready.status, set(ready.json["failing"])) == (503, {"joined"})
            assert (await platform.request("GET", "/healthz")).status == 200


async def test_a_gateway_that_started_alone_joins_when_it_can(surroundings: Platform) -> None:
    await surroundings.routed()
    token = surroundings.fakts.join_token
    async with surroundings.serving():
        assert (await surroundings.call()).status == 200
    surroundings.fakts.join_token = "changed meanwhile"
    async with surroundings.serving(join_token=token):
        assert (await surroundings.call()).status == 200
        await eventually(lambda: surroundings.source.entry.refused)
        surroundings.fakts.join_token = token
        await eventually(surroundings.source.entry.inside.is_set)
        assert (await surroundings.request("GET", "/readyz")).status == 200


async def test_what_is_kept_on_disk_is_for_its_owner_alone(surroundings: Platform) -> None:
    async with surroundings.serving():
        assert (await surroundings.call("joe/absent")).status == 404
    files = [path for path in (surroundings.folder / "gateway").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"gateway.json", "identity.json", "catalog.json"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert all(surroundings.key not in path.read_text() for path in files)


async def recorded(platform: Platform, stack: AsyncExitStack) -> list[CallRecord]:
    """A list that fills with what the gateway announces."""
    records: list[CallRecord] = []

    async def hear(message: CallsRecorded) -> None:
        assert message.gateway in platform.fakts.leases
        records.extend(message.records)

    listening = platform.bus.listen("test", [CALLS_TOPIC], hear, accepts=[CallsRecorded])
    await stack.enter_async_context(listening)
    return records


async def test_every_call_of_a_known_caller_is_recorded(platform: Platform) -> None:
    async def play(asked: Asked) -> Answer:
        if asked.body.startswith(b"bad"):
            return envelope({"message": "no good", "error_type": "InputError"}, outcome="error")
        return envelope("ok", asked.headers["x-request-id"])

    replica = await platform.routed(play=play)
    async with AsyncExitStack() as stack:
        records = await recorded(platform, stack)
        good = await platform.call(body="good")
        await platform.call(body="bad\0" + "y" * 1000)
        await platform.call("joe/absent")
        await platform.call(key=nonsense_key())
        chained = replica.calls[0].headers["x-caller"]
        await platform.call(key=chained)
        await eventually(lambda: len(records) >= 4)
    by_input = {record.reference + (record.error or ""): record for record in records}
    assert len(records) == 4
    fine = next(record for record in records if record.request_id == good.json["request_id"])
    assert (fine.account, fine.status, fine.error, fine.input_head) == ("joe", 200, None, None)
    assert (fine.algorithm_id, fine.revision_id) == (platform.echo.id, platform.echo.revisions[0].id)
    assert 0 < fine.duration_seconds < 60
    bad = by_input["joe/echono good"]
    assert (bad.status, bad.error_type, bad.error) == (200, "InputError", "no good")
    assert bad.input_head == "bad\ufffd" + "y" * 124
    absent = by_input["joe/absentalgorithm algo://joe/absent not found"]
    assert (absent.status, absent.algorithm_id) == (404, None)
    inner = next(record for record in records if record.parent)
    assert (inner.parent, inner.account) == (fine.request_id, "joe")


async def test_a_gateway_that_stops_announces_the_records_that_it_has(surroundings: Platform) -> None:
    async with AsyncExitStack() as stack:
        records = await recorded(surroundings, stack)
        async with surroundings.serving():
            await surroundings.routed()
            made = [(await surroundings.call()).json["request_id"] for _ in range(5)]
        await eventually(lambda: len(records) == 5)
    assert [record.request_id for record in records] == made


async def test_what_an_algorithm_says_of_its_error_is_recorded_up_to_a_length(platform: Platform) -> None:
    async def boom(asked: Asked) -> Answer:
        return envelope({"message": "m" * 100_000, "error_type": "E" * 100_000}, outcome="error")

    await platform.routed(play=boom)
    held: list[Record] = []
    platform.gateway.calls._record = held.append
    assert len((await platform.call()).error["message"]) == 100_000
    [record] = held
    assert [len(text) for text in record if isinstance(text, str) and len(text) > 1000] == [2000, 2000]


async def test_a_call_that_its_client_left_is_recorded_so(platform: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        await held.wait()
        return envelope("too late")

    replica = await platform.routed(play=hold)
    async with AsyncExitStack() as stack:
        records = await recorded(platform, stack)
        async with Client.connect(platform.url) as client:
            await client.write(call("joe/echo", key=platform.key))
            await eventually(lambda: replica.running == 1)
        await eventually(lambda: not platform.gateway.clients)
        held.set()
        await eventually(lambda: records)
    assert (records[0].status, records[0].error) == (499, "the client left before the answer")


async def test_a_void_call_with_a_large_result_is_recorded_with_its_status(platform: Platform) -> None:
    async def large(asked: Asked) -> Answer:
        return envelope("y" * 2_000_000)

    await platform.routed(play=large)
    async with AsyncExitStack() as stack:
        records = await recorded(platform, stack)
        await platform.call("joe/echo?output=void")
        await eventually(lambda: records)
    assert (records[0].status, records[0].error) == (200, None)


async def test_calls_are_counted(platform: Platform) -> None:
    await platform.routed()
    await platform.call()
    await platform.call()
    await platform.call("joe/absent")
    text = (await platform.request("GET", "/metrics")).body.decode()
    assert 'constellation_calls_total{status="200"} 2.0' in text
    assert 'constellation_calls_total{status="404"} 1.0' in text
    assert "constellation_calls_failed_total 1.0" in text
    assert 'constellation_call_seconds_bucket{le="+Inf"} 3.0' in text
    assert "constellation_calls_under_way 0.0" in text
    assert "constellation_calls_buffered_bytes 0.0" in text


async def test_nothing_is_left_of_calls_that_are_over(platform: Platform) -> None:
    await platform.routed()
    for body in ("one", "two"):
        await platform.call(body=body)
    await platform.call("joe/echo?output=void")
    await eventually(lambda: not platform.gateway.calls.under_way)
    calls = platform.gateway.calls
    assert calls.tally.buffered == 0
    assert not calls._sessions._taken
    assert not calls._chains._taken
    [pool] = platform.gateway.pools.called
    assert (pool.active, len(pool.waiting), pool.replicas[0].outstanding) == (0, 0, 0)
