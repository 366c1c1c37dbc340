"""A gateway that serves a plan: no fakts, no feeds, no bus and no database are anywhere."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from libs.common.contracts.replicas import Address, RouteReplica
from libs.common.hosts import host_id
from services.gateway.satellite.files import FileRefused
from services.gateway.satellite.routes import Routes
from tests.service.gateway.client import Client, call
from tests.service.gateway.satellite.conftest import KEY, OTHER_KEY, PICTURE, TEXT, Edge
from tests.support.eventually import eventually


def as_json(value: object) -> dict[str, str]:
    return {"body": json.dumps(value), "content_type": "application/json"}


async def test_entries_answer_at_both_addresses_and_nothing_else_does(edge: Edge) -> None:
    await edge.replica(TEXT)
    plan = edge.write()
    await edge.start()
    assert (await edge.call(body="plain")).result == "plain"
    assert (await edge.call(f"{TEXT}?timeout=3000", body="long")).result == "long"
    own = f"/launches/{plan.order.launch_id}/v1/algo/"
    assert (await edge.call(body="its own", base=own)).result == "its own"
    [entry] = [one for one in plan.order.entries if one.vanity_url == TEXT]
    for reference, base in (
        (f"{entry.owner}/{entry.name}", "/v1/algo/"),
        (f"{entry.owner}/{entry.name}/{entry.commit}", "/v1/algo/"),
        (str(entry.algorithm_id), "/v1/algo/"),
        ("text/other", "/v1/algo/"),
        (TEXT, f"/launches/{uuid4()}/v1/algo/"),
    ):
        refused = await edge.call(reference, base=base)
        assert (refused.status, refused.error["error_type"]) == (404, "EntityNotFoundError"), reference
        assert "answers the vanity URLs of its own algorithms only" in refused.error["message"]
    for path in ("/", "/v1/algorithms/joe/echo", "/admin/v1/launches", "/.well-known/fakts", "/console", "/v1/users"):
        reply = await edge.request("GET", path, authorization=KEY)
        assert reply.status == 404, path
        assert b"a satellite answers calls" in reply.body
    data = await edge.request("GET", "/v1/data/joe/photos", authorization=KEY)
    assert (data.status, data.error["message"][:29]) == (404, "a satellite has no hosted dat")
    assert (await edge.request("GET", f"/v1/algo/{TEXT}")).status == 405


async def test_it_is_healthy_and_ready_with_its_plan_alone(edge: Edge) -> None:
    edge.write()
    await edge.start()
    assert (await edge.request("GET", "/healthz")).status == 200
    ready = await edge.request("GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ready", "failing": {}})
    assert b"constellation_calls_total" in (await edge.request("GET", "/metrics")).body


async def test_keys_of_the_plan_are_let_in_until_they_expire(edge: Edge) -> None:
    await edge.replica(TEXT)
    edge.maker.expire(OTHER_KEY, datetime.now(UTC) - timedelta(seconds=1))
    edge.write()
    await edge.start()
    assert (await edge.call()).status == 200
    assert (await edge.call(key=f"Simple {KEY}")).status == 200
    for refused in (await edge.call(key=OTHER_KEY), await edge.call(key="simUNKNOWN"), await edge.call(key="x.y.z")):
        assert refused.status == 401
    token = await edge.call(key="Bearer aaaa.bbbb.cccc")
    assert (token.status, token.error["message"][:29]) == (401, "access tokens of the platform")
    without = await edge.call(key=None)
    assert (without.status, without.error["message"]) == (401, "authorization required")


async def test_an_algorithm_calls_another_entry_for_its_caller(edge: Edge) -> None:
    await edge.replica(TEXT)
    await edge.replica(PICTURE)
    edge.write()
    await edge.start()
    inner = await edge.call(**as_json({"call": PICTURE, "input": ["inner"]}))
    assert inner.result["result"] == ["inner"]
    absent = await edge.call(**as_json({"call": "joe/other", "input": 1}))
    assert "404" in absent.error["message"]


async def test_a_replica_that_wants_another_token_is_told_of(edge: Edge) -> None:
    await edge.replica(TEXT, token=edge.token(PICTURE))
    edge.write()
    await edge.start()
    assert (await edge.call(f"{TEXT}?timeout=5")).status >= 400


async def test_a_call_that_comes_before_the_first_replica_waits_for_it(edge: Edge) -> None:
    edge.write()
    await edge.start()
    async with Client.connect(edge.url) as client:
        await client.write(call(TEXT, b"waits", key=KEY))
        await eventually(lambda: edge.gateway.calls.under_way)
        await edge.replica(TEXT)
        edge.write()
        assert (await client.read()).result == "waits"


async def test_a_replica_that_is_named_no_more_finishes_its_call(edge: Edge) -> None:
    first = await edge.replica(TEXT)
    edge.write()
    await edge.start()
    running = asyncio.create_task(edge.call(**as_json({"sleep": 3})))
    await eventually(lambda: edge.gateway.calls.under_way)
    pool = edge.gateway.pools.launched(edge.route(TEXT))
    [old] = pool.replicas
    second = await edge.replica(TEXT)
    edge.write()
    await eventually(lambda: old.gone)
    assert (await edge.call(**as_json({}))).result == second.host
    first.guardian.terminate()
    assert (await running).result != second.host


async def test_a_new_plan_is_taken_and_a_bad_one_is_refused(edge: Edge) -> None:
    await edge.replica(TEXT)
    edge.maker.vanity_urls = (TEXT,)
    edge.write()
    await edge.start()
    assert (await edge.call(PICTURE)).status == 404
    await edge.replica(PICTURE)
    edge.maker.vanity_urls, edge.maker.version = (TEXT, PICTURE), 2
    del edge.maker.keys[OTHER_KEY]
    edge.write()
    assert (await edge.call(key=OTHER_KEY)).status == 200
    await eventually(lambda: edge.source.plan.order.satellite_version == 2)
    assert (await edge.call(PICTURE)).status == 200
    assert (await edge.call(key=OTHER_KEY)).status == 401
    for bad in ("{", "[]", edge.maker.plan().model_copy(update={"catalog": ()}).model_dump_json()):
        edge.plan_file.write_text(bad)
        refused = edge.source.files[0]
        await eventually(lambda: refused.refused is not None)  # noqa: B023 - the same file each time
        assert (await edge.call(PICTURE)).status == 200
        refused.refused = None


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 2}'])
def test_a_bad_plan_at_the_start_is_an_error_in_words(edge: Edge, content: str | None) -> None:
    edge.write()
    edge.plan_file.unlink()
    if content is not None:
        edge.plan_file.write_text(content)
    with pytest.raises(FileRefused, match=r"plan\.json cannot be (read: No such file|used: this is no plan)"):
        edge.app()


async def test_replicas_of_the_same_process_need_no_names(edge: Edge) -> None:
    edge.write()
    routes = Routes()
    replica = await edge.replica(TEXT)
    await edge.start(satellite_replicas=None, routes=routes)
    address = Address(host_id=host_id(), unix=str(replica.place / "call.sock"))
    routes.set(edge.route(TEXT), [RouteReplica(id=uuid4(), address=address)])
    assert (await edge.call(body="here")).result == "here"
    routes.set(edge.route(TEXT), failure="its image is gone")
    failed = await edge.call()
    assert (failed.status, failed.error["error_type"]) == (200, "LoadingError")
    assert failed.error["message"].endswith("its image is gone")


async def test_every_call_is_a_line_on_standard_output(edge: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    await edge.replica(TEXT)
    edge.write()
    async with edge.serving():
        good = await edge.call(body="private input")
        bad = await edge.call(**as_json({"raise": f"no good, {KEY}"}))
    printed = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in printed if line.startswith('{"event":"call"')]
    calls = {line["request_id"]: line for line in lines}
    assert calls[good.json["request_id"]]["reference"] == TEXT
    assert calls[good.json["request_id"]]["account"] == "joe"
    failed = calls[bad.json["request_id"]]
    assert (failed["level"], failed["error"]) == ("warning", "no good, [hidden]")
    assert "private input" not in str(printed)
