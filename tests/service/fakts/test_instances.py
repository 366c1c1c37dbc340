"""Who is where: leases of the platform's services, and services that administrators offer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, select, update

from libs.common import db
from libs.common.contracts import joining
from services.fakts import loops
from services.fakts.models import Client, Instance
from services.fakts.oauth import clients, console
from services.fakts.preflight import instances
from tests.service.fakts.running import JOIN_TOKEN, RunningFakts, running, settings_for
from tests.service.fakts.test_mandates import SERVICE, deep, needs


def offered(service: str, port: int = 9000, **more: Any) -> dict[str, Any]:
    alias = {"id": f"{service}-1", "host": "10.0.0.5", "port": port}
    return {"service": f"constellation.{service}", "version": "1", "aliases": [alias], **more}


async def known_to(fakts: RunningFakts, headers: dict[str, str], mine: str, *, of: str) -> list[str]:
    """Instances of `of` that a heartbeat of `mine` is told of."""
    body = offered("gateway", requirements=[needs("it", f"constellation.{of}", optional=True)])
    lease = await fakts.ask("PUT", f"/lok/f/instances/{mine}", 200, json=body, headers=headers)
    return [one["identifier"] for one in lease["instances"].get("it", [])]


async def test_an_instance_is_in_answers_while_its_lease_lasts_and_again_when_it_returns(
    fakts_url: str, tmp_path: Path
) -> None:
    async with running(settings_for(fakts_url, tmp_path, lease_seconds=60.0)) as fakts:
        worker, worker_headers = await fakts.join("worker")
        gateway, headers = await fakts.join("gateway")
        assert await known_to(fakts, headers, gateway, of="worker") == []
        path = f"/lok/f/instances/{worker}"
        lease = await fakts.ask("PUT", path, 200, json=offered("worker"), headers=worker_headers)
        assert lease["lease_seconds"] == 60.0
        assert await known_to(fakts, headers, gateway, of="worker") == [worker]
        async with fakts.context.database.transaction() as session:
            lapsed = db.now() - timedelta(seconds=1)
            await session.execute(update(Instance).where(Instance.name == worker).values(lease_until=lapsed))
        assert await known_to(fakts, headers, gateway, of="worker") == []
        await fakts.ask("PUT", path, 200, json=offered("worker"), headers=worker_headers)
        assert await known_to(fakts, headers, gateway, of="worker") == [worker]
        await fakts.ask("DELETE", path, 204, headers=worker_headers)
        await fakts.ask("DELETE", path, 204, headers=worker_headers)
        assert await known_to(fakts, headers, gateway, of="worker") == []


async def test_a_lease_tells_all_live_instances_and_the_latest_addresses(fakts: RunningFakts) -> None:
    gateway, headers = await fakts.join("gateway")
    workers = []
    for _ in range(3):
        worker, own = await fakts.join("worker")
        await fakts.ask("PUT", f"/lok/f/instances/{worker}", 200, json=offered("worker"), headers=own)
        workers.append(worker)
    assert await known_to(fakts, headers, gateway, of="worker") == workers
    await fakts.ask("PUT", f"/lok/f/instances/{workers[2]}", 200, json=offered("worker", 9001), headers=own)
    body = offered("gateway", requirements=[needs("w", "constellation.worker"), needs("d", "constellation.deployer")])
    lease = await fakts.ask("PUT", f"/lok/f/instances/{gateway}", 200, json=body, headers=headers)
    assert lease["instances"]["w"][2]["aliases"][0]["port"] == 9001
    assert lease["statuses"] == {"w": "granted", "d": "unavailable"}


async def test_a_token_offers_its_own_instance_of_its_own_service_only(fakts: RunningFakts) -> None:
    worker, headers = await fakts.join("worker")
    gateway, _ = await fakts.join("gateway")
    for instance in (gateway, str(uuid4())):
        await fakts.ask("PUT", f"/lok/f/instances/{instance}", 403, json=offered("worker"), headers=headers)
        await fakts.ask("DELETE", f"/lok/f/instances/{instance}", 403, headers=headers)
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 403, json=offered("registry"), headers=headers)
    await fakts.ask("PUT", "/lok/f/instances/mine", 400, json=offered("worker"), headers=headers)
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 403, json=offered("worker"), headers=fakts.admin)
    bad = offered("worker", version="a\x00")
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 400, json=bad, headers=headers)
    many = offered("worker", requirements=[needs(str(n), "s") for n in range(201)])
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 400, json=many, headers=headers)


async def test_a_revoked_mandate_takes_its_services_out_of_all_answers(fakts: RunningFakts) -> None:
    mandate = await fakts.mandate(kind="service", identifiers=["constellation.worker"])
    joined = (await fakts.login(mandate["key"], "constellation.worker", device_id=str(uuid4()))).json()
    worker, own = joined["client_id"], {"authorization": f"Bearer {joined['access_token']}"}
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 200, json=offered("worker"), headers=own)
    gateway, headers = await fakts.join("gateway")
    assert await known_to(fakts, headers, gateway, of="worker") == [worker]
    await fakts.ask("DELETE", f"/admin/v1/mandates/{mandate['id']}", 204)
    assert await known_to(fakts, headers, gateway, of="worker") == []
    refused = await fakts.http.put(f"/lok/f/instances/{worker}", json=offered("worker"), headers=own)
    assert refused.status_code in (401, 403), "its token ends within a second, and its key at once"
    assert "revoked" in refused.json()["detail"]


async def test_an_instance_that_is_first_offered_many_times_at_once_is_there_once(fakts: RunningFakts) -> None:
    offer = joining.InstanceOffer.model_validate(offered("worker"))

    async def offer_it(instance_id: UUID) -> None:
        async with fakts.context.database.transaction() as session:
            await instances.offer(session, instance_id, offer, seconds=60.0)

    ids = [uuid4() for _ in range(100)]
    for instance_id in ids:
        await asyncio.gather(*(offer_it(instance_id) for _ in range(5)))
    async with fakts.context.database.transaction() as session:
        service = Instance.service == offer.service
        rows = (await session.scalars(select(Instance.id).where(service).order_by(Instance.number))).all()
    assert list(rows) == ids


async def test_heartbeats_use_up_no_numbers(fakts: RunningFakts) -> None:
    worker, headers = await fakts.join("worker")
    for _ in range(5):
        await fakts.ask("PUT", f"/lok/f/instances/{worker}", 200, json=offered("worker"), headers=headers)
    second, headers = await fakts.join("worker")
    await fakts.ask("PUT", f"/lok/f/instances/{second}", 200, json=offered("worker"), headers=headers)
    async with fakts.context.database.transaction() as session:
        numbers = (await session.scalars(select(Instance.number).order_by(Instance.number))).all()
    assert list(numbers) == [1, 2, 3]


async def test_services_of_others_are_offered_replaced_and_withdrawn(fakts: RunningFakts) -> None:
    key = (await fakts.mandate())["key"]

    async def port() -> int | None:
        needed = [needs("it", "org.example.probe", optional=True)]
        instance = (await fakts.login(key, "a.b", requirements=needed)).json()["instances"].get("it")
        return instance["aliases"][0]["port"] if instance else None

    assert await port() is None
    made = await fakts.ask("POST", "/admin/v1/services", 201, json=SERVICE)
    assert made["aliases"][1]["path"] == "probe"
    assert await port() == 1
    other = {**SERVICE, "aliases": [{"id": "n", "host": "probe.test", "port": 7, "challenge": "ht"}]}
    await fakts.ask("POST", "/admin/v1/services", 201, json=other)
    assert await port() == 7
    await fakts.ask("POST", "/admin/v1/services", 201, json={**SERVICE, "instance": "probe-2"})
    assert await port() == 7
    listed = [one for one in (await fakts.ask("GET", "/admin/v1/services", 200))["items"] if one["external"]]
    assert [(one["service"], one["instance"], one["live"]) for one in listed] == [
        ("org.example.probe", "probe-1", True),
        ("org.example.probe", "probe-2", True),
    ]
    await fakts.ask("DELETE", "/admin/v1/services/org.example.probe/probe-1", 204)
    await fakts.ask("DELETE", "/admin/v1/services/org.example.probe/probe-1", 204)
    assert await port() == 1


async def test_what_a_strict_client_would_stumble_over_is_not_taken(fakts: RunningFakts) -> None:
    changes: list[dict[str, Any]] = [
        {"service": "constellation.registry"},
        {"service": ""},
        {"instance": "a/b"},
        {"aliases": []},
        {"aliases": [{"id": "a"}]},
        {"aliases": [{"id": 7, "host": "h"}]},
        {"aliases": [{"id": "a", "host": "http://h"}]},
        {"aliases": [{"id": "a", "host": "h", "port": 0}]},
        {"aliases": [{"id": "a", "host": "h", "port": ""}]},
        {"aliases": [{"id": "a", "host": "h", "ssl": None}]},
        {"aliases": [{"id": "a", "host": "h", "challenge": None}]},
        {"aliases": [{"id": "a", "host": "h", "reach": "moon"}]},
        {"challenge_key": {"kind": "rsa", "key": "x"}},
        {"challenge_key": {"kind": "ed25519", "key": "AAAA"}},
        {"challenge_key": {"kind": "ed25519", "key": "!"}},
    ]
    for change in changes:
        await fakts.ask("POST", "/admin/v1/services", 400, json={**SERVICE, **change})


async def test_what_is_long_gone_is_forgotten_and_what_counts_is_not(fakts: RunningFakts) -> None:
    counted = (await fakts.mandate(kind="service", identifiers=["constellation.worker"], uses=1))["key"]
    kept = (await fakts.login(counted, "constellation.worker")).json()["client_id"]
    gone, headers = await fakts.join("worker")
    await fakts.ask("PUT", f"/lok/f/instances/{gone}", 200, json=offered("worker"), headers=headers)
    here, headers = await fakts.join("worker")
    await fakts.ask("PUT", f"/lok/f/instances/{here}", 200, json=offered("worker"), headers=headers)
    async with fakts.context.database.transaction() as session:
        long_ago = db.now() - instances.KEEP_LAPSED * 2
        await session.execute(update(Instance).where(Instance.name == gone).values(lease_until=long_ago))
        await session.execute(update(Client).values(last_login_at=db.now() - clients.KEEP_SERVICES * 2))
    await loops.forget(fakts.context)
    async with fakts.context.database.transaction() as session:
        left = {
            str(one) for one in (await session.scalars(select(Client.id).where(Client.id != console.CLIENT_ID))).all()
        }
        names = set((await session.scalars(select(Instance.name))).all())
    assert left == {kept, here}
    assert here in names
    assert gone not in names
    assert (await fakts.login(JOIN_TOKEN, "constellation.worker", device_id=gone)).status_code == 200


async def test_a_service_that_is_not_known_any_more_is_told_to_log_in_again(fakts: RunningFakts) -> None:
    worker, headers = await fakts.join("worker")
    async with fakts.context.database.transaction() as session:
        await session.execute(delete(Client))
    await fakts.ask("PUT", f"/lok/f/instances/{worker}", 401, json=offered("worker"), headers=headers)


async def test_a_report_is_taken_from_whoever_logged_in(fakts: RunningFakts) -> None:
    key = (await fakts.mandate())["key"]
    app = (await fakts.login(key, "org.example.app")).json()
    headers = {"authorization": f"Bearer {app['access_token']}"}
    said = {"alias_reports": {"it": {"alias_id": None, "reason": "none", "valid": True}}, "functional": False}
    body = await fakts.ask("POST", "/lok/f/report/", 200, json=said, headers=headers)
    assert body == {"status": "reported"}
    async with fakts.context.database.transaction() as session:
        row = (await session.scalars(select(Client).where(Client.id == UUID(app["client_id"])))).one()
    assert row.report == said
    assert row.reported_at is not None
    malformed: list[Any] = [[], {"a": {"reason": "\x00"}}, {"a": {"reason": deep(100)}}]
    for bad in ({"alias_reports": value} for value in malformed):
        await fakts.ask("POST", "/lok/f/report/", 400, json=bad, headers=headers)
    await fakts.ask("POST", "/lok/f/report/", 401, json=said, headers=fakts.admin)
    await fakts.ask("POST", "/lok/f/report/", 401, json=said, headers={})
