"""Replicas that are found by name."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.contracts.replicas import Route, RouteReplica, derived_token
from services.gateway.satellite import names
from services.gateway.satellite.names import NamedReplicas
from services.gateway.satellite.routes import Routes

ROUTE = UUID(int=1)


class Resolver:
    """Answers as the test says: addresses, an error, or nothing at all."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str] | OSError | None] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        answer = self.answers[host]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, OSError):
            raise answer
        return answer or []


class World:
    def __init__(self) -> None:
        self.routes = Routes()
        self.told: list[tuple[str, Route | None]] = []
        self.routes.follow(lambda key, body: self.told.append((key, Route.model_validate(body) if body else None)))
        self.resolver = Resolver()
        self.named = NamedReplicas(self.routes, secret="s", concurrency=lambda _: 3, resolve=self.resolver)

    def write(self, **hosts: Any) -> None:
        self.named.take(json.dumps({str(ROUTE): hosts} if hosts else {}).encode())

    def found(self, route: UUID = ROUTE) -> tuple[RouteReplica, ...]:
        known = self.routes.of(route)
        return known.replicas if known is not None else ()

    @property
    def addresses(self) -> list[str | None]:
        return [one.address.host for one in self.found()]


@pytest.fixture
def world() -> World:
    return World()


async def test_each_address_of_a_name_is_a_replica(world: World) -> None:
    world.write(host="tag.edge.svc", port=9000)
    world.resolver.answers["tag.edge.svc"] = ["10.0.0.1", "10.0.0.2"]
    await world.named.once()
    one, two = world.found()
    assert (one.address.host, one.address.port, one.concurrency) == ("10.0.0.1", 9000, 3)
    assert one.address.token == two.address.token == derived_token("s", ROUTE) != derived_token("s", UUID(int=8))
    assert one.id != two.id
    world.resolver.answers["tag.edge.svc"] = ["10.0.0.2", "10.0.0.3"]
    await world.named.once()
    assert world.addresses == ["10.0.0.2", "10.0.0.3"]
    assert world.found()[0] == two, "who stays keeps its id"
    told = len(world.told)
    await world.named.once()
    assert len(world.told) == told, "what is the same is not told again"


async def test_a_name_that_does_not_exist_has_no_replicas(world: World) -> None:
    world.write(host="tag")
    world.resolver.answers["tag"] = ["10.0.0.1"]
    await world.named.once()
    world.resolver.answers["tag"] = []
    await world.named.once()
    assert world.addresses == []
    assert world.named.failures == {ROUTE: "tag has no address: no replica is ready there"}
    world.resolver.answers["tag"] = ["10.0.0.1"]
    await world.named.once()
    assert (world.addresses, world.named.failures) == (["10.0.0.1"], {})


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_AGAIN, "try again"), OSError("no route"), None])
async def test_while_nobody_answers_what_was_found_stays(world: World, failure: OSError | None) -> None:
    other = uuid4()
    places = {str(ROUTE): {"host": "tag"}, str(other): {"host": "resize"}}
    world.named.take(json.dumps(places).encode())
    world.resolver.answers = {"tag": ["10.0.0.1"], "resize": ["10.0.0.8"]}
    await world.named.once()
    world.resolver.answers = {"tag": failure, "resize": ["10.0.0.9"]}
    for _ in range(2):
        await world.named.once()
    assert world.addresses == ["10.0.0.1"]
    assert [one.address.host for one in world.found(other)] == ["10.0.0.9"], "the others are not held up"
    assert (ROUTE in world.named.failures) == (failure is not None)
    assert world.resolver.asked.count("tag") == (3 if failure is not None else 2), "one question at a time"
    await world.named.close()


async def test_an_entry_that_the_file_names_no_more_is_none(world: World) -> None:
    world.write(host="tag")
    world.resolver.answers["tag"] = ["10.0.0.1"]
    await world.named.once()
    world.write()
    assert world.routes.of(ROUTE) is None
    assert world.told[-1] == (str(ROUTE), None)
    world.write()
    await world.named.once()
    assert world.resolver.asked == ["tag"]


async def test_names_are_looked_up_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await names.resolve("127.0.0.9") == ["127.0.0.9"]
    assert await names.resolve("localhost") == ["127.0.0.1"], "of a replica with two addresses, one"
    assert await names.resolve("::1") == ["::1"]

    def absent(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", absent)
    routes = Routes()
    named = NamedReplicas(routes, secret=None, concurrency=lambda _: 1)
    named.take(json.dumps({str(ROUTE): {"host": "absent"}}).encode())
    await named.once()
    known = routes.of(ROUTE)
    assert known is not None
    assert known.replicas == ()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "Invalid JSON"),
        (b'{"x": {"host": "a"}}', "UUID"),
        (json.dumps({str(ROUTE): {"port": 1}}).encode(), "host: Field required"),
        (json.dumps({str(ROUTE): {"host": "a b"}}).encode(), "host: String should match"),
        (json.dumps({str(ROUTE): {"host": "a", "port": 0}}).encode(), "port: Input should be greater"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(document: bytes, words: str) -> None:
    with pytest.raises(ValueError, match="it must hold") as refused:
        names.read(document)
    assert words in str(refused.value)
