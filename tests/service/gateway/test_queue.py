"""Waiting for replicas, and what becomes of calls when replicas come, go or break."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from libs.common.contracts.replicas import Address, DemandReport, RouteReplica
from tests.service.gateway.client import Client, call
from tests.service.gateway.conftest import Platform
from tests.service.gateway.doubles import Answer, Asked, ReplicaDouble, entry, envelope, revision
from tests.support.eventually import eventually


class Held:
    """Replicas whose calls end when the test says so."""

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)

    async def play(self, asked: Asked) -> Answer:
        await self.gate.acquire()
        return envelope(asked.body.decode(), asked.headers["x-request-id"])

    def release(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.release()


async def under_way(platform: Platform, count: int) -> None:
    await eventually(lambda: len(platform.gateway.calls.under_way) == count)


async def test_calls_wait_in_their_order(platform: Platform) -> None:
    held = Held()
    replica = await platform.routed(play=held.play)
    clients = [await platform.client() for _ in range(6)]
    for number, client in enumerate(clients):
        await client.write(call("joe/echo", f"{number}", key=platform.key))
        await under_way(platform, number + 1)
    held.release(6)
    assert [(await client.read()).result for client in clients] == [f"{number}" for number in range(6)]
    assert [asked.body for asked in replica.calls] == [b"%d" % number for number in range(6)]
    assert replica.most_running == 1


async def test_a_replica_runs_as_many_calls_as_it_says(platform: Platform) -> None:
    held = Held()
    replica = await platform.routed(play=held.play, concurrency=3)
    calls = [asyncio.create_task(platform.call(body=f"{number}")) for number in range(7)]
    await eventually(lambda: replica.running == 3)
    await under_way(platform, 7)
    assert replica.running == 3
    held.release(7)
    assert {(await one).result for one in calls} == {f"{number}" for number in range(7)}
    assert replica.most_running == 3
    assert replica.connections == 3


async def test_replicas_share_the_work(platform: Platform) -> None:
    held = Held()
    replicas = [await platform.replica(play=held.play) for _ in range(4)]
    platform.route(*replicas)
    calls = [asyncio.create_task(platform.call()) for _ in range(8)]
    await eventually(lambda: all(replica.running == 1 for replica in replicas))
    held.release(8)
    assert {(await one).status for one in calls} == {200}


async def test_a_waiting_call_goes_to_the_replica_that_comes(platform: Platform) -> None:
    held = Held()
    first = await platform.routed(play=held.play)
    one, two = (asyncio.create_task(platform.call(body=text)) for text in ("one", "two"))
    await eventually(lambda: len(platform.gateway.calls.under_way) == 2 and first.running == 1)
    second = await platform.replica()
    platform.route(first, second)
    done, _ = await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    assert len(done) == 1
    assert len(second.calls) == 1
    held.release()
    assert {(await call).status for call in (one, two)} == {200}


async def test_a_call_without_a_replica_makes_the_deployer_start_one(platform: Platform) -> None:
    replica = await platform.replica()
    revision_id = platform.echo.revisions[0].id

    def start(report: DemandReport) -> None:
        if any(demand.revision_id == revision_id and demand.waiting for demand in report.demands):
            platform.route(replica)

    platform.deployer.on_demand = start
    assert (await platform.call(body="cold")).result == "cold"
    [demand] = platform.deployer.reports[0].demands
    assert (demand.algorithm_id, demand.in_flight, demand.waiting) == (platform.echo.id, 1, 1)
    assert platform.deployer.reports[0].gateway in platform.fakts.leases


async def test_demand_is_reported_while_there_is_any_and_then_ends(platform: Platform) -> None:
    held = Held()
    await platform.routed(play=held.play)
    running = asyncio.create_task(platform.call())
    await eventually(lambda: len(platform.deployer.reports) >= 2)
    for report in platform.deployer.reports:
        assert [(demand.in_flight, demand.waiting) for demand in report.demands] == [(1, 0)]
    held.release()
    await running
    await eventually(lambda: platform.deployer.reports[-1].demands == ())
    count = len(platform.deployer.reports)
    await asyncio.sleep(1.5)
    assert len(platform.deployer.reports) == count


async def test_a_crowd_without_room_is_one_report(platform: Platform) -> None:
    calls = [asyncio.create_task(platform.call("joe/echo?timeout=120")) for _ in range(50)]
    await under_way(platform, 50)
    await eventually(lambda: platform.deployer.reports)
    await eventually(lambda: [d.waiting for d in platform.deployer.reports[-1].demands] == [50])
    assert len(platform.deployer.reports) < 25
    platform.route(await platform.replica())
    assert {(await one).status for one in calls} == {200}


async def test_a_full_queue_is_429(surroundings: Platform) -> None:
    await surroundings.start(queue_limit=2)
    waiting = [asyncio.create_task(surroundings.call()) for _ in range(2)]
    await under_way(surroundings, 2)
    reply = await surroundings.call()
    assert (reply.status, "2 calls" in reply.error["message"]) == (429, True)
    assert int(reply.headers["retry-after"]) >= 1
    void = await surroundings.call("joe/echo?output=void")
    assert void.status == 429
    surroundings.route(await surroundings.replica())
    assert {(await one).status for one in waiting} == {200}


async def test_a_call_that_finds_no_replica_in_time_is_504(platform: Platform) -> None:
    reply = await platform.call("joe/echo?timeout=0.4")
    assert (reply.status, reply.error["error_type"]) == (504, "TimeoutError")
    assert "0.4 s" in reply.error["message"]
    assert not platform.gateway.calls.under_way


async def test_waiting_counts_against_the_timeout(platform: Platform) -> None:
    held = Held()
    replica = await platform.routed(play=held.play)
    first = asyncio.create_task(platform.call())
    await eventually(lambda: replica.running == 1)
    second = asyncio.create_task(platform.call("joe/echo?timeout=120"))
    await under_way(platform, 2)
    await asyncio.sleep(0.3)
    held.release(2)
    assert [(await one).status for one in (first, second)] == [200, 200]
    assert float(replica.calls[0].headers["x-timeout"]) == 300
    assert 0 < float(replica.calls[1].headers["x-timeout"]) < 119.8


async def test_a_replica_that_does_not_keep_the_deadline_is_given_up(surroundings: Platform) -> None:
    await surroundings.start(answer_grace_seconds=0.2)
    held = Held()
    replica = await surroundings.routed(play=held.play)
    reply = await surroundings.call("joe/echo?timeout=1")
    assert (reply.status, "did not answer" in reply.error["message"]) == (504, True)
    assert len(replica.calls) == 1
    held.release(2)
    assert (await surroundings.call(body="next")).result == "next"


async def test_a_client_that_leaves_the_queue_frees_its_place(surroundings: Platform) -> None:
    await surroundings.start(queue_limit=1)
    held = Held()
    replica = await surroundings.routed(play=held.play)
    running = asyncio.create_task(surroundings.call(body="running"))
    await eventually(lambda: replica.running == 1)
    async with Client.connect(surroundings.url) as leaving:
        await leaving.write(call("joe/echo", "leaving", key=surroundings.key))
        await under_way(surroundings, 2)
    await under_way(surroundings, 1)
    waiting = asyncio.create_task(surroundings.call(body="waiting"))
    await under_way(surroundings, 2)
    held.release(2)
    assert ((await running).result, (await waiting).result) == ("running", "waiting")
    assert [asked.body for asked in replica.calls] == [b"running", b"waiting"]


async def test_a_client_that_leaves_a_running_call_leaves_its_replica_busy(platform: Platform) -> None:
    held = Held()
    replica = await platform.routed(play=held.play)
    async with Client.connect(platform.url) as leaving:
        await leaving.write(call("joe/echo", "abandoned", key=platform.key))
        await eventually(lambda: replica.running == 1)
    await eventually(lambda: len(platform.gateway.clients) == 0)
    waiting = asyncio.create_task(platform.call(body="next"))
    await under_way(platform, 2)
    assert len(replica.calls) == 1
    held.release(2)
    assert (await waiting).result == "next"
    assert (replica.most_running, replica.connections) == (1, 1)


async def test_a_replica_that_is_lost_during_a_call_fails_it_once(platform: Platform) -> None:
    async def die(asked: Asked) -> Answer:
        return None if asked.body == b"die" else envelope("alive")

    replica = await platform.routed(play=die)
    reply = await platform.call(body="die")
    assert (reply.status, reply.error["code"], reply.error["error_type"]) == (500, 5001, "SystemError")
    assert "may have run" in reply.error["message"]
    assert len(replica.calls) == 1
    assert (await platform.call(body="next")).result == "alive"


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(platform: Platform) -> None:
    async def torn(asked: Asked) -> Answer:
        return envelope("y" * 1000)[:-500]

    replica = await platform.routed(play=torn)
    client = await platform.client()
    await client.write(call("joe/echo", key=platform.key))
    head = await client.head()
    replica.hang_up()
    body = await client.closed()
    assert len(body) < int(head.split(b"content-length: ")[1].split(b"\r\n")[0])


async def test_an_answer_that_is_no_http_is_an_error(platform: Platform) -> None:
    async def nonsense(asked: Asked) -> Answer:
        return b"HTTP/1.1 200 OK\r\ncontent-type: x\r\n\r\nno length"

    await platform.routed(play=nonsense)
    assert (await platform.call()).status == 500


async def test_a_replica_that_cannot_be_reached_is_passed_over(platform: Platform) -> None:
    dead = ReplicaDouble(address=Address(host_id="elsewhere", host="127.0.0.1", port=1))
    alive = await platform.replica()
    platform.route(dead, alive)
    replies = await asyncio.gather(*(platform.call() for _ in range(10)))
    assert {reply.status for reply in replies} == {200}
    assert len(alive.calls) == 10


async def test_a_call_waits_for_a_replica_that_cannot_be_reached_yet(platform: Platform) -> None:
    replica = ReplicaDouble(address=Address(host_id="elsewhere", host="127.0.0.1", port=1))
    platform.route(replica)
    waiting = asyncio.create_task(platform.call())
    await under_way(platform, 1)
    platform.route(await platform.replica())
    assert (await waiting).status == 200


async def test_a_call_that_a_replica_did_not_begin_goes_to_another(platform: Platform) -> None:
    async def drain(asked: Asked) -> Answer:
        return envelope({"message": "draining"}, outcome="unstarted", status="503 Service Unavailable")

    draining, alive = await platform.replica(play=drain), await platform.replica()
    platform.route(draining, alive)
    for _ in range(6):
        assert (await platform.call(body="moved")).result == "moved"
    assert len(alive.calls) == 6


async def test_a_call_that_no_replica_begins_fails_with_words(platform: Platform) -> None:
    async def drain(asked: Asked) -> Answer:
        return envelope({"message": "draining"}, outcome="unstarted", status="503 Service Unavailable")

    replica = await platform.routed(play=drain)
    reply = await platform.call("joe/echo?timeout=120")
    assert (reply.status, "being replaced" in reply.error["message"]) == (503, True)
    assert len(replica.calls) == 5


async def test_a_replica_that_is_taken_away_finishes_its_call_and_gets_no_other(platform: Platform) -> None:
    held = Held()
    old = await platform.routed(play=held.play)
    running = asyncio.create_task(platform.call(body="old"))
    await eventually(lambda: old.running == 1)
    new = await platform.replica()
    platform.route(new)
    await eventually(lambda: len(platform.source.routes.entries[str(platform.echo.revisions[0].id)]["replicas"]) == 1)
    assert (await platform.call(body="new")).result == "new"
    held.release()
    assert (await running).result == "old"
    for _ in range(3):
        await platform.call()
    assert (len(old.calls), len(new.calls)) == (1, 4)
    await eventually(lambda: not old._writers)


async def test_calls_that_wait_are_told_why_nothing_starts(platform: Platform) -> None:
    waiting = [asyncio.create_task(platform.call()) for _ in range(3)]
    await under_way(platform, 3)
    platform.route(failure="src/echo.py: No module named 'numpy'")
    for one in waiting:
        reply = await one
        assert (reply.status, reply.error["error_type"]) == (200, "LoadingError")
        assert reply.error["message"] == "src/echo.py: No module named 'numpy'"


async def test_a_new_call_of_what_failed_waits_a_moment_for_another_attempt(surroundings: Platform) -> None:
    await surroundings.start(start_patience_seconds=0.5)
    surroundings.route(failure="it broke")
    reply = await surroundings.call()
    assert (reply.status, reply.error["message"]) == (200, "it broke")
    await eventually(lambda: surroundings.deployer.reports)
    replica = await surroundings.replica()
    surroundings.deployer.on_demand = lambda _: surroundings.route(replica)
    assert (await surroundings.call()).status == 200


async def test_a_replica_of_another_host_that_cannot_be_reached_says_what_to_do(surroundings: Platform) -> None:
    await surroundings.start(start_patience_seconds=0.1)
    lost = RouteReplica(id=uuid4(), address=Address(host_id="elsewhere", unix="/nowhere"))
    surroundings.deployer.route(surroundings.echo.revisions[0].id, lost)
    reply = await surroundings.call()
    assert "CONSTELLATION_ADVERTISE_HOST" in reply.error["message"]


async def test_a_remote_replica_is_called_over_tcp_with_its_token(platform: Platform) -> None:
    replica = await platform.routed(tcp=True, token="proof")
    assert (await platform.call()).status == 200
    assert replica.calls[0].headers["x-replica-token"] == "proof"


async def test_a_local_replica_gets_no_token(platform: Platform) -> None:
    replica = await platform.routed()
    await platform.call()
    assert "x-replica-token" not in replica.calls[0].headers


async def test_a_new_version_does_not_wait_behind_the_old_one(platform: Platform) -> None:
    held = Held()
    old = await platform.routed(play=held.play)
    slow = asyncio.create_task(platform.call("joe/echo/0.1.0"))
    await eventually(lambda: old.running == 1)
    newer = platform.echo.model_copy(update={"revisions": (*platform.echo.revisions, revision("0.2.0"))})
    platform.registry.publish(newer)
    replica = await platform.routed(algorithm=newer)
    await eventually(lambda: platform.source.catalog.version == 2)
    assert (await platform.call("joe/echo", "new")).result == "new"
    assert len(replica.calls) == 1
    held.release()
    assert (await slow).status == 200


async def test_fast_replicas_are_sent_calls_ahead_and_slow_ones_are_not(platform: Platform) -> None:
    fast = await platform.routed()
    client = await platform.client()
    for _ in range(500):
        assert (await client.call("joe/echo", key=platform.key)).status == 200
    held = Held()
    fast.play = held.play
    calls = [asyncio.create_task(platform.call(body=f"{number}")) for number in range(8)]
    await eventually(lambda: fast.running > 1)
    held.release(8)
    assert {(await one).result for one in calls} == {f"{number}" for number in range(8)}
    slow = platform.registry.publish(entry("joe", "slow"))
    replica = await platform.routed(algorithm=slow, play=held.play)
    calls = [asyncio.create_task(platform.call("joe/slow")) for _ in range(8)]
    held.release(8)
    await asyncio.gather(*calls)
    assert replica.most_running == 1


async def test_a_replica_that_says_farewell_behind_its_answer_loses_no_call(platform: Platform) -> None:
    """It ends just now: what crosses the farewell was not begun, and goes to the next replica."""

    async def last_word(asked: Asked) -> bytes:
        unstarted = envelope({"message": "draining"}, outcome="unstarted", status="503 Service Unavailable")
        return answered(asked) + unstarted

    def answered(asked: Asked) -> bytes:
        return envelope(asked.body.decode(), asked.headers["x-request-id"])

    ending = await platform.replica(play=last_word)
    staying = await platform.replica()
    platform.route(ending)
    for number in range(5):
        assert (await platform.call(body=str(number))).result == str(number)
    assert ending.connections == len(ending.calls), "nothing is sent where it has said farewell"
    platform.route(staying)
    assert (await platform.call(body="on")).result == "on"
