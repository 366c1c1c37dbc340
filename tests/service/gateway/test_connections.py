"""HTTP as clients speak it, well and badly."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.gateway import protocol
from services.gateway.request_ids import RequestIds
from tests.service.gateway.client import Client, Reply, call, request
from tests.service.gateway.conftest import Platform
from tests.service.gateway.doubles import Answer, Asked, envelope
from tests.support.eventually import eventually


async def test_a_connection_is_kept_for_the_next_call(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    for number in range(5):
        assert (await client.call("joe/echo", f"{number}", key=platform.key)).result == f"{number}"
    assert (await client.request("GET", "/healthz")).json == {"status": "ok"}
    assert (await client.call("joe/echo", "again", key=platform.key)).result == "again"


async def test_a_client_that_wants_to_close_is_hung_up_on(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    reply = await client.call("joe/echo", key=platform.key, Connection="close")
    assert reply.headers["connection"] == "close"
    assert await client.closed() == b""


async def test_http_1_0_is_answered_and_closed(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    reply = await client.call("joe/echo", key=platform.key, version="1.0")
    assert (reply.status, reply.result, reply.headers["connection"]) == (200, "x", "close")
    assert await client.closed() == b""


async def test_pipelined_requests_are_answered_in_their_order(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    key = platform.key
    await client.write(
        call("joe/echo", "one", key=key)
        + request("GET", "/healthz")
        + call("joe/absent", "two", key=key)
        + call("joe/echo", "three", key=key, chunked=True)
        + call("joe/echo", "four")
        + request("GET", "/v1/nothing")
        + request("GET", "/readyz")
        + call("joe/echo", "five", key=key)
    )
    replies = [await client.read() for _ in range(8)]
    assert [reply.status for reply in replies] == [200, 200, 404, 200, 401, 404, 200, 200]
    assert [replies[index].result for index in (0, 3, 7)] == ["one", "three", "five"]


async def test_hundreds_of_pipelined_refusals_are_answered(platform: Platform) -> None:
    client = await platform.client()
    await client.write(call("joe/echo", "x") * 2000)
    for _ in range(2000):
        assert (await client.read()).status == 401


async def test_a_slow_call_holds_back_the_one_behind_it_only(platform: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        if asked.body == b"slow":
            await held.wait()
        return envelope(asked.body.decode())

    replica = await platform.routed(play=hold, concurrency=8)
    client = await platform.client()
    await client.write(call("joe/echo", "slow", key=platform.key) + call("joe/echo", "fast", key=platform.key))
    await eventually(lambda: len(replica.calls) == 1)
    assert (await platform.call(body="other")).result == "other"
    held.set()
    assert [(await client.read()).result for _ in range(2)] == ["slow", "fast"]


async def test_a_request_may_arrive_byte_by_byte(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    for byte in call("joe/echo?timeout=60", "drip", key=platform.key):
        await client.write(bytes([byte]))
    assert (await client.read()).result == "drip"


async def test_a_body_is_asked_for_when_the_client_waits_for_that(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    whole = call("joe/echo", "body", key=platform.key, Expect="100-continue")
    await client.write(whole[:-4])
    assert (await client.read()).status == 100
    await client.write(whole[-4:])
    assert (await client.read()).result == "body"


async def test_a_body_is_not_asked_for_when_the_call_is_refused(platform: Platform) -> None:
    client = await platform.client()
    await client.write(call("joe/echo", "body", Expect="100-continue")[:-4])
    reply = await client.read()
    assert (reply.status, reply.headers["connection"]) == (401, "close")
    assert await client.closed() == b""


async def test_an_early_refusal_does_not_break_the_connection(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    whole = call("joe/echo", "body")
    await client.write(whole[:-2])
    assert (await client.read()).status == 401
    await client.write(whole[-2:])
    assert (await client.call("joe/echo", "next", key=platform.key)).result == "next"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_upgrade_is_not_made_and_the_call_is(platform: Platform, protocol: str) -> None:
    await platform.routed()
    client = await platform.client()
    whole = call("joe/echo", "java", key=platform.key, Connection="Upgrade, HTTP2-Settings", Upgrade=protocol)
    await client.write(whole + call("joe/echo", "next", key=platform.key))
    assert (await client.read()).result == "java"
    assert (await client.read()).result == "next"


async def test_a_web_socket_is_refused(platform: Platform) -> None:
    reply = await platform.request(
        "GET",
        "/v1/algorithms",
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Key="x",
        Sec_WebSocket_Version="13",
    )
    assert reply.status != 101
    assert reply.status >= 400


async def test_a_tunnel_is_refused(platform: Platform) -> None:
    client = await platform.client()
    await client.write(b"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n")
    assert (await client.read()).status == 405
    await client.closed()


async def test_a_target_with_scheme_and_host_is_understood(platform: Platform) -> None:
    await platform.routed()
    client = await platform.client()
    await client.write(
        call("joe/echo?timeout=60", "proxy", key=platform.key).replace(b"POST /", b"POST http://gateway/")
    )
    assert (await client.read()).result == "proxy"


NO_HTTP = (
    b"NONSENSE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/algo/joe/echo HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/algo/joe/echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /v1/algo/joe/echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


async def test_what_is_not_http_is_refused_and_hung_up_on(platform: Platform) -> None:
    for data in NO_HTTP:
        async with Client.connect(platform.url) as client:
            await client.write(data)
            assert (await client.read()).status == 400, data
            await client.closed()


async def test_a_body_that_breaks_its_framing_is_refused(platform: Platform) -> None:
    client = await platform.client()
    head = call("joe/echo", b"", key=platform.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    await client.write(head + b"zzz\r\n")
    reply = await client.read()
    assert (reply.status, "framed" in reply.error["message"]) == (400, True)
    await client.closed()
    assert platform.gateway.calls.tally.buffered == 0


async def test_a_fault_of_the_gateway_is_told_and_ends_one_connection_only(platform: Platform) -> None:
    class NoIds(RequestIds):
        def next(self) -> str:
            raise RuntimeError("a fault")

    await platform.routed()
    calls = platform.gateway.calls
    ids, calls._ids = calls._ids, NoIds()
    client = await platform.client()
    assert (await client.call("joe/echo", key=platform.key)).status == 500
    await client.closed()
    calls._ids = ids
    assert (await platform.call()).status == 200


async def test_heads_are_bounded(platform: Platform) -> None:
    for lines in (b"X-Long: " + b"x" * 300_000, b"\r\n".join(b"X-%d: x" % n for n in range(500))):
        client = await platform.client()
        await client.write(b"POST /v1/algo/joe/echo HTTP/1.1\r\n" + lines)
        await client.write(b"\r\n\r\n")
        assert (await client.read()).status == 431
        await client.closed()


async def test_a_slow_head_is_hung_up_on(surroundings: Platform) -> None:
    await surroundings.start(head_seconds=0.3)
    client = await surroundings.client()
    await client.write(b"POST /v1/algo/joe/echo HTTP/1.1\r\nHost:")
    assert await client.closed() == b""


async def test_a_silent_connection_is_hung_up_on(surroundings: Platform) -> None:
    await surroundings.start(keep_alive_seconds=0.3)
    await surroundings.routed()
    client = await surroundings.client()
    await client.call("joe/echo", key=surroundings.key)
    assert await client.closed() == b""
    await eventually(lambda: not surroundings.gateway.clients)


async def test_a_slow_body_is_given_up_and_holds_no_replica(surroundings: Platform) -> None:
    await surroundings.start(body_seconds=0.5)
    await surroundings.routed()
    client = await surroundings.client()
    await client.write(call("joe/echo", b"x" * 1000, key=surroundings.key)[:-500])
    assert (await surroundings.call(body="other")).result == "other"
    reply = await client.read()
    assert (reply.status, reply.error["error_type"]) == (408, "TimeoutError")
    await client.closed()
    assert surroundings.gateway.calls.tally.buffered == 0


async def test_a_client_that_takes_no_answer_is_hung_up_on(surroundings: Platform) -> None:
    await surroundings.start(stall_seconds=0.5)

    async def large(asked: Asked) -> Answer:
        return envelope("y" * (30 << 20))

    replica = await surroundings.routed(play=large)
    client = await surroundings.client()
    client.pause()
    await client.write(call("joe/echo", key=surroundings.key))
    await eventually(lambda: len(surroundings.gateway.clients) == 1)
    await eventually(lambda: not surroundings.gateway.clients)
    await eventually(lambda: replica.running == 0)
    await eventually(lambda: not surroundings.gateway.calls.under_way)


async def test_a_slow_reader_makes_the_replica_wait_instead_of_filling_memory(platform: Platform) -> None:
    size = 40 << 20
    done = asyncio.Event()

    async def large(asked: Asked) -> Answer:
        done.set()
        return envelope("y" * size)

    replica = await platform.routed(play=large)
    client = await platform.client()
    client.pause()
    await client.write(call("joe/echo", key=platform.key))
    await done.wait()
    [connection] = await eventually(lambda: list(platform.gateway.clients))
    await eventually(lambda: connection.transport.get_write_buffer_size() > 0)
    seen = []

    def settled() -> bool:
        seen.append(connection.transport.get_write_buffer_size())
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    await eventually(settled)
    assert seen[-1] < 4 << 20
    client.resume()
    assert len((await client.read()).result) == size
    assert len(replica.calls) == 1


async def test_a_slow_reader_that_asks_for_more_does_not_fill_memory(platform: Platform) -> None:
    size = 8 << 20

    async def large(asked: Asked) -> Answer:
        return envelope("y" * size)

    replica = await platform.routed(play=large)
    client = await platform.client()
    client.pause()
    await client.write(call("joe/echo", key=platform.key) * 6)
    [connection] = await eventually(lambda: list(platform.gateway.clients))
    seen = []

    def settled() -> bool:
        seen.append((connection.transport.get_write_buffer_size(), len(replica.calls)))
        return len(seen) > 20 and len(set(seen[-20:])) == 1 and bool(replica.calls)

    await eventually(settled)
    assert seen[-1][0] < 4 << 20
    client.resume()
    for _ in range(6):
        assert len((await client.read()).result) == size


async def test_input_of_all_clients_together_is_bounded(surroundings: Platform) -> None:
    await surroundings.start(max_buffered_bytes=150_000)
    await surroundings.routed()
    one = await surroundings.client()
    whole = call("joe/echo", b"x" * 100_000, key=surroundings.key)
    await one.write(whole[:-1])
    await eventually(lambda: surroundings.gateway.calls.tally.buffered >= 99_000)
    reply = await surroundings.call(body=b"y" * 100_000)
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert (await surroundings.call(body="small")).status == 200
    await one.write(whole[-1:])
    assert (await one.read()).status == 200
    assert surroundings.gateway.calls.tally.buffered == 0


async def test_many_connections_are_kept(platform: Platform) -> None:
    await platform.routed()
    clients = [await platform.client() for _ in range(300)]
    for _ in range(2):
        for batch in range(0, 300, 50):
            replies = await asyncio.gather(
                *(client.call("joe/echo", key=platform.key) for client in clients[batch : batch + 50])
            )
            assert {reply.status for reply in replies} == {200}
    assert len(platform.gateway.clients) == 300


async def test_connections_beyond_the_limit_are_closed(surroundings: Platform) -> None:
    await surroundings.start(max_connections=2)
    await surroundings.routed()
    kept = [await surroundings.client() for _ in range(2)]
    await eventually(lambda: len(surroundings.gateway.clients) == 2)
    third = await surroundings.client()
    assert await third.closed() == b""
    assert (await kept[0].call("joe/echo", key=surroundings.key)).status == 200


async def test_stopping_lets_the_call_under_way_finish(surroundings: Platform) -> None:
    held = asyncio.Event()

    async def hold(asked: Asked) -> Answer:
        await held.wait()
        return envelope("finished")

    async with AsyncExitStack() as stack:
        async with surroundings.serving(drain_seconds=60) as url:
            client, idle = [await stack.enter_async_context(Client.connect(url)) for _ in range(2)]
            replica = await surroundings.routed(play=hold)
            await client.write(call("joe/echo", key=surroundings.key))
            await eventually(lambda: replica.running == 1)
            asyncio.get_running_loop().call_later(0.3, held.set)
        assert (await client.read()).result == "finished"
        assert await idle.closed() == b""


async def test_a_request_that_crosses_the_stop_is_answered_as_the_last(
    surroundings: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "FAREWELL_SECONDS", 60.0)
    async with AsyncExitStack() as stack:

        async def ask(url: str) -> list[Reply]:
            await eventually(lambda: refuses(url))
            return [await caller.call("joe/echo", key=surroundings.key), await other.request("GET", "/healthz")]

        async with surroundings.serving(drain_seconds=60) as url:
            caller, other = [await stack.enter_async_context(Client.connect(url)) for _ in range(2)]
            await surroundings.routed()
            for client in (caller, other):
                assert (await client.request("GET", "/healthz")).status == 200
            asked = asyncio.create_task(ask(url))
        assert [(one.status, one.headers["connection"]) for one in await asked] == [(200, "close"), (200, "close")]
        assert [await client.closed() for client in (caller, other)] == [b"", b""]


async def refuses(url: str) -> bool:
    """The server takes no connections any more."""
    try:
        async with Client.connect(url):
            return False
    except ConnectionRefusedError:
        return True
