from __future__ import annotations

from tests.service.gateway.conftest import Platform


async def test_a_call_is_answered_by_a_replica(platform: Platform) -> None:
    replica = await platform.routed()
    reply = await platform.call(body="hello")
    assert (reply.status, reply.result) == (200, "hello")
    assert replica.calls[0].body == b"hello"
