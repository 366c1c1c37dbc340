"""What fakts fetches from outside, and what it does not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest

from services.fakts import outgoing
from services.fakts.outgoing import FetchFailed, Outgoing


class Web:
    """The world outside: `addresses` by host, `answers` by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses = {"id.example": ["203.0.113.9"], "keys.example": ["198.35.26.96", "2620:0:862:ed1a::1"]}
        self.answers: dict[str, httpx.Response] = {"/keys": httpx.Response(200, json={"keys": []})}
        self.asked: list[httpx.Request] = []
        self.outgoing = Outgoing(httpx.AsyncClient(transport=httpx.MockTransport(self._answer)))
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._resolve)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers[request.url.path]

    async def _resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        if host not in self.addresses:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses[host]]


async def test_what_an_administrator_wrote_is_asked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(monkeypatch)
    url = "http://keycloak.internal:8080/keys"
    assert await web.outgoing.json(url, configured="http://keycloak.internal:8080/realm") == {"keys": []}
    assert str(web.asked[0].url) == url


async def test_what_a_document_names_is_connected_to_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web = Web(monkeypatch)
    assert await web.outgoing.json("https://keys.example/keys", configured="https://id.example") == {"keys": []}
    (asked,) = web.asked
    assert asked.url.host == "198.35.26.96"
    assert asked.headers["host"] == "keys.example"
    assert asked.extensions["sni_hostname"] == "keys.example"


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://keys.example/keys", ["10.0.0.1"]),
        ("https://keys.example/keys", ["198.35.26.96", "127.0.0.1"]),
        ("https://keys.example/keys", ["169.254.169.254"]),
        ("https://keys.example/keys", ["::1"]),
        ("https://keys.example/keys", ["::ffff:10.0.0.1"]),
        ("https://keys.example/keys", ["::10.0.0.1"]),
        ("https://keys.example/keys", ["64:ff9b::10.0.0.1"]),
        ("https://keys.example/keys", ["64:ff9b:1::1"]),
        ("https://keys.example/keys", ["2002:a00:1::1"]),
        ("https://keys.example/keys", ["fec0::1"]),
        ("https://keys.example/keys", ["224.0.0.251"]),
        ("https://keys.example/keys", ["ff0e::1"]),
        ("https://keys.example/keys", []),
        ("http://keys.example/keys", ["198.35.26.96"]),
        ("https://unknown.example/keys", []),
        ("http://id.example/keys", []),
        ("https://id.example:8443/keys", ["10.0.0.1"]),
        ("https://[::1/keys", []),
        ("file:///etc/passwd", []),
        ("", []),
    ],
)
async def test_a_document_does_not_lead_into_the_network_that_fakts_is_in(
    monkeypatch: pytest.MonkeyPatch, url: str, addresses: list[str]
) -> None:
    web = Web(monkeypatch)
    web.addresses |= {"keys.example": addresses, "id.example": addresses}
    with pytest.raises(FetchFailed):
        await web.outgoing.json(url, configured="https://id.example")
    assert web.asked == []


@pytest.mark.parametrize("address", ["64:ff9b::c623:1a60", "2002:c623:1a60::1", "::ffff:198.35.26.96"])
async def test_an_address_that_stands_for_a_public_one_is_public(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    web = Web(monkeypatch)
    web.addresses["keys.example"] = [address]
    assert await web.outgoing.json("https://keys.example/keys", configured="https://id.example") == {"keys": []}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(302, headers={"location": "http://10.0.0.1/"}), "status 302"),
        (httpx.Response(500), "status 500"),
        (httpx.Response(200, content=b"x" * (outgoing.MAX_BYTES + 1)), "more than"),
        (httpx.Response(200, content=b"not JSON"), "JSON object"),
        (httpx.Response(200, json=[]), "JSON object"),
    ],
)
async def test_an_answer_that_is_none_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, words: str
) -> None:
    web = Web(monkeypatch)
    web.answers["/keys"] = answer
    with pytest.raises(FetchFailed, match=words):
        await web.outgoing.json("https://id.example/keys", configured="https://id.example")
    assert len(web.asked) == 1


async def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(outgoing, "SECONDS", 0.05)
    slow = Outgoing(httpx.AsyncClient(transport=httpx.MockTransport(silent)))
    with pytest.raises(FetchFailed, match="did not answer"):
        await slow.json("https://id.example/keys", configured="https://id.example")
