"""The whole application, on a real port: joined to a scripted Fakts, following a scripted registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute

from libs.common import db
from libs.common.auth import GATES
from libs.common.clients.deployer import DeployerClient
from libs.common.contracts.events import AUDIT_TOPIC, AuditRecorded
from libs.common.contracts.jobs import OrdersChanged, worker_queue
from libs.common.contracts.joining import Alias
from libs.common.contracts.replicas import Demand, DemandReport
from libs.common.join import membership
from libs.common.problems import Forbidden
from tests.service.deployer.platform import Platform, RegistryDouble, deploying
from tests.service.deployer.world import Clock, ScriptedWorker, entry
from tests.support.eventually import eventually
from tests.support.fakts_double import FaktsDouble
from tests.support.serving import bound, serving


@pytest.fixture
async def platform(database_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        fakts = await stack.enter_async_context(FaktsDouble().serve())
        fakts.configure("deployer", database_url=database_url)
        registry = RegistryDouble()
        fakts.offer("registry", await stack.enter_async_context(serving(registry.app, grace=1)))
        stack.callback(registry.close)
        yield await stack.enter_async_context(deploying(stack, fakts, registry, tmp_path))


async def test_a_cold_start_from_the_first_call_to_the_route(platform: Platform) -> None:
    echo = entry()
    revision = echo.revisions[0].id
    platform.registry.publish(echo)
    node = ScriptedWorker(Clock(), str(uuid4()))
    worker, _ = await platform.client("worker", node.id)
    gateway, routes = await platform.client("gateway")
    node.obey(await worker.report_worker(node.id, node.report()))
    await eventually(lambda: platform.app.state.catalog.wish(revision))

    hinted = asyncio.Event()

    async def obey(hint: OrdersChanged) -> None:
        assert hint.worker_id == node.id
        hinted.set()

    async with platform.bus.consume(worker_queue(node.id), obey, accepts=[OrdersChanged]):
        await gateway.report_demand(
            DemandReport(
                gateway="g",
                demands=(Demand(revision_id=revision, algorithm_id=echo.id, in_flight=1, waiting=1),),
            )
        )
        await asyncio.wait_for(hinted.wait(), 60)
    first = await routes.fetch(since=0, epoch="", wait=0)
    waiting = asyncio.create_task(routes.fetch(since=first.version, epoch=first.epoch, wait=10))
    for _ in range(3):
        node.obey(await worker.report_worker(node.id, node.report()))
    page = await waiting
    (change,) = page.changes
    assert change.key == str(revision)
    assert change.body is not None
    assert [one["id"] for one in change.body["replicas"]] == [str(key) for key in node.replicas]


async def test_only_a_worker_reports_and_only_for_itself(platform: Platform) -> None:
    node = ScriptedWorker(Clock(), str(uuid4()))
    other, _ = await platform.client("worker", str(uuid4()))
    gateway, _ = await platform.client("gateway")
    for client in (other, gateway):
        with pytest.raises(Forbidden):
            await client.report_worker(node.id, node.report())
    with pytest.raises(Forbidden, match="gateways"):
        await other.report_demand(DemandReport(gateway="g"))
    answer = await platform.http.get(f"{platform.url}/internal/feeds/routes")
    assert answer.status_code == 401
    answer = await platform.http.get(
        f"{platform.url}/internal/feeds/routes", headers={"authorization": f"Bearer {platform.admin_key}"}
    )
    assert answer.status_code == 403


async def test_every_route_has_a_gate(platform: Platform) -> None:
    for route in platform.app.routes:
        dependant = getattr(route, "dependant", None)
        if dependant is not None:
            calls = {one.call for one in dependant.dependencies}
            assert calls & GATES, getattr(route, "path", route)


async def test_administrators_see_what_runs_where_and_why_not(platform: Platform) -> None:
    good, bad = entry(), entry()
    revision, broken = good.revisions[0].id, bad.revisions[0].id
    platform.registry.publish(good)
    platform.registry.publish(bad)
    node = ScriptedWorker(Clock(), str(uuid4()))
    node.breaks[broken] = "SyntaxError: invalid syntax"
    worker, _ = await platform.client("worker", node.id)
    gateway, _ = await platform.client("gateway")
    node.obey(await worker.report_worker(node.id, node.report()))
    await eventually(lambda: platform.app.state.catalog.wish(broken))
    word = DemandReport(
        gateway="g",
        demands=tuple(
            Demand(revision_id=one.revisions[0].id, algorithm_id=one.id, in_flight=1, waiting=1)
            for one in (good, bad)
        ),
    )

    async def both_ended_up() -> bool:
        await gateway.report_demand(word)
        node.obey(await worker.report_worker(node.id, node.report()))
        listed = (await platform.admin("GET", "/deployments")).json()["items"]
        return {one["state"] for one in listed} == {"ready", "failing"}

    await eventually(both_ended_up)
    listed = (await platform.admin("GET", "/deployments", {"algorithm_id": str(good.id)})).json()
    (shown,) = listed["items"]
    assert listed["cursor"] is None
    assert (shown["id"], shown["algorithm"], shown["desired"]) == (str(revision), "joe/echo", 1)
    assert shown["actual"] == {"ready": 1, "starting": 0, "draining": 0}

    detail = (await platform.admin("GET", f"/deployments/{broken}")).json()
    assert detail["reason"] == "SyntaxError: invalid syntax"
    assert detail["replicas"][-1]["actual"] == "failed"
    assert detail["replicas"][-1]["reason"] == "SyntaxError: invalid syntax"

    (ready,) = (await platform.admin("GET", "/replicas", {"state": "ready"})).json()["items"]
    assert (await platform.admin("GET", f"/replicas/{ready['id']}")).json() == ready
    assert (ready["desired"], ready["worker_id"]) == ("running", node.id)
    assert ready["address"] == {"unix": None, "host": "127.0.0.1", "port": 9000}

    events = (await platform.admin("GET", f"/deployments/{revision}/events")).json()["items"]
    assert [one["kind"] for one in events] == ["ready", "starting", "placed"]
    assert await platform.everything(f"/deployments/{revision}/events", limit=1) == events


async def test_every_list_pages_without_leaving_anything_out(platform: Platform) -> None:
    algorithms = [entry(min_replicas=1) for _ in range(5)]
    for one in algorithms:
        platform.registry.publish(one)
    for _ in range(3):
        node = ScriptedWorker(Clock(), str(uuid4()))
        worker, _ = await platform.client("worker", node.id)
        await worker.report_worker(node.id, node.report())

    async def all_placed() -> bool:
        return len((await platform.admin("GET", "/replicas")).json()["items"]) == 5

    await eventually(all_placed)
    for path, count in (("/replicas", 5), ("/deployments", 5), ("/workers", 3)):
        whole = (await platform.admin("GET", path)).json()["items"]
        assert len(whole) == count
        paged = await platform.everything(path, limit=2)
        assert [one["id"] for one in paged] == [one["id"] for one in whole]


@pytest.mark.parametrize("path", ["/replicas", "/deployments"])
async def test_a_made_up_cursor_is_refused(platform: Platform, path: str) -> None:
    answer = await platform.admin("GET", path, {"cursor": "bm9uc2Vuc2U"})
    assert answer.status_code == 400
    assert "cursor" in answer.json()["detail"]


async def test_what_is_not_there_is_not_found(platform: Platform) -> None:
    for method, path in (
        ("GET", f"/deployments/{uuid4()}"),
        ("GET", f"/deployments/{uuid4()}/events"),
        ("GET", "/workers/nobody"),
        ("GET", f"/replicas/{uuid4()}"),
        ("POST", "/workers/nobody/drain"),
    ):
        assert (await platform.admin(method, path)).status_code == 404, path


async def test_many_who_ask_for_what_is_not_there_hold_up_nobody(platform: Platform) -> None:
    """More than there are connections to the database."""
    strangers = [platform.admin("GET", f"/deployments/{uuid4()}") for _ in range(25)]
    *answers, workers = await asyncio.gather(*strangers, platform.admin("GET", "/workers"))
    assert {answer.status_code for answer in answers} == {404}
    assert workers.status_code == 200


async def test_only_administrators_get_in(platform: Platform) -> None:
    platform.fakts.add_account("joe")
    key = platform.fakts.add_key("joe")
    for method, path in (("GET", "/workers"), ("GET", "/deployments"), ("POST", "/workers/x/drain")):
        assert (await platform.admin(method, path, key=key)).status_code == 403
        answer = await platform.http.request(method, f"{platform.url}/admin/v1{path}")
        assert answer.status_code == 401


async def test_draining_a_worker_is_shown_undone_and_audited(platform: Platform) -> None:
    node = ScriptedWorker(Clock(), str(uuid4()))
    worker, _ = await platform.client("worker", node.id)
    await worker.report_worker(node.id, node.report())
    heard: list[AuditRecorded] = []

    async def hear(act: AuditRecorded) -> None:
        heard.append(act)

    async with platform.bus.listen("test", [AUDIT_TOPIC], hear, accepts=[AuditRecorded]):
        drained = (await platform.admin("POST", f"/workers/{node.id}/drain")).json()
        assert (drained["state"], drained["draining"]) == ("draining", True)
        assert (await platform.admin("POST", f"/workers/{node.id}/drain")).json()["draining"] is True
        drain = f"/workers/{node.id}/drain"
        again = [(await platform.admin("POST", drain, idempotency_key="k")).json() for _ in range(2)]
        assert again[0] == again[1]
        other = await platform.admin("POST", "/workers/another/drain", idempotency_key="k")
        assert other.status_code == 422
        (shown,) = (await platform.admin("GET", "/workers")).json()["items"]
        assert shown["state"] == "draining"
        assert (await platform.admin("DELETE", f"/workers/{node.id}/drain")).json()["state"] == "ready"
        await eventually(lambda: len(heard) == 2)
    assert [(act.action, act.actor, act.subject) for act in heard] == [
        ("worker.drain", "root", f"worker:{node.id}"),
        ("worker.undrain", "root", f"worker:{node.id}"),
    ]


async def test_what_runs_is_counted_for_the_metrics(platform: Platform) -> None:
    platform.registry.publish(entry(min_replicas=1))
    node = ScriptedWorker(Clock(), str(uuid4()))
    worker, _ = await platform.client("worker", node.id)
    await worker.report_worker(node.id, node.report())

    async def counted() -> bool:
        await platform.app.state.gauges.once()
        text = (await platform.http.get(f"{platform.url}/metrics")).text
        return (
            'constellation_replicas{state="wanted"} 1.0' in text
            and 'constellation_workers{state="ready"} 1.0' in text
        )

    await eventually(counted)


async def test_the_clock_is_that_of_the_database(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts whose clocks differ agree on which worker is heard, and which call still counts."""
    ahead = db.now() + timedelta(hours=1)
    monkeypatch.setattr(db, "now", lambda: ahead)
    echo = entry()
    platform.registry.publish(echo)
    node = ScriptedWorker(Clock(), str(uuid4()))
    worker, _ = await platform.client("worker", node.id)
    gateway, _ = await platform.client("gateway")
    await worker.report_worker(node.id, node.report())
    await eventually(lambda: platform.app.state.catalog.wish(echo.revisions[0].id))
    called = Demand(revision_id=echo.revisions[0].id, algorithm_id=echo.id, in_flight=1, waiting=1)
    await gateway.report_demand(DemandReport(gateway="g", demands=(called,)))

    async def placed() -> Any:
        return (await platform.admin("GET", "/replicas")).json()["items"]

    (replica,) = await eventually(placed)
    (heard,) = (await platform.admin("GET", "/workers")).json()["items"]
    assert heard["state"] == "ready"
    for moment in (replica["created_at"], heard["joined_at"], heard["lease_until"]):
        assert datetime.fromisoformat(moment) < ahead


async def test_it_is_ready_once_the_catalog_has_come(platform: Platform) -> None:
    async def ready() -> bool:
        return (await platform.http.get(f"{platform.url}/readyz")).status_code == 200

    await eventually(ready)


async def test_a_report_that_is_none_is_refused_with_what_is_wrong(platform: Platform) -> None:
    instance = str(uuid4())
    token = platform.fakts.service_token("worker", instance=instance)
    answer = await platform.http.post(
        f"{platform.url}/internal/workers/{instance}/report",
        json={"name": "n", "version": "1", "capacity": {"cpus": 0, "memory_mib": 1}},
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 400
    assert "capacity.cpus" in answer.json()["detail"]


async def test_a_replicas_log_is_asked_of_the_worker_that_has_it(platform: Platform) -> None:
    echo = entry()
    platform.registry.publish(echo)
    node = ScriptedWorker(Clock(), str(uuid4()))
    listener = bound()
    member = await platform.stack.enter_async_context(
        membership(
            platform.http,
            fakts_url=platform.fakts.url,
            token=platform.fakts.join_token,
            identifier="constellation.worker",
            version="1",
            requires=("deployer",),
            instance_id=node.id,
        )
    )
    await member.offer(Alias(id="w", host="127.0.0.1", port=listener.getsockname()[1]))
    await member.wait_for("deployer")
    worker = DeployerClient(platform.http, member)
    gateway, _ = await platform.client("gateway")
    node.obey(await worker.report_worker(node.id, node.report()))
    await eventually(lambda: platform.app.state.catalog.wish(echo.revisions[0].id))
    demand = Demand(revision_id=echo.revisions[0].id, algorithm_id=echo.id, in_flight=1, waiting=1)
    await gateway.report_demand(DemandReport(gateway="g", demands=(demand,)))

    async def placed() -> list[dict[str, Any]]:
        return list((await platform.admin("GET", "/replicas")).json()["items"])

    replica = (await eventually(placed))[0]["id"]
    path = f"/replicas/{replica}/log"
    answer = await platform.admin("GET", path)
    assert answer.status_code == 503
    assert f"worker {node.id}, which has the log, cannot be asked" in answer.json()["detail"]

    async def log(request: Request) -> Response:
        if not request.headers["authorization"].startswith("Bearer "):
            return Response(status_code=401)
        offset = int(request.query_params["offset"])
        part = {"offset": offset, "next_offset": offset + 2, "text": "hi", "ended": False}
        return JSONResponse({"replica_id": request.path_params["id"], **part})

    app = Starlette(routes=[HttpRoute("/internal/replicas/{id}/log", log)])
    await platform.stack.enter_async_context(serving(app, listener, grace=1))

    async def told() -> bool:
        return (await platform.admin("GET", path, {"offset": 7})).status_code == 200

    await eventually(told)
    answer = await platform.admin("GET", path, {"offset": 7})
    part = {"offset": 7, "next_offset": 9, "text": "hi", "ended": False}
    assert answer.json() == {"replica_id": replica, **part}
    assert (await platform.admin("GET", f"/replicas/{uuid4()}/log")).status_code == 404
