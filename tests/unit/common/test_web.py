"""The skeleton of an application: what no route has to think of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from libs.common import web
from libs.common.auth import public


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    routes, relaying = web.router(public), web.router(public, relays=True)

    @routes.post("/keeps")
    async def keep(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @relaying.post("/relays")
    async def relay(body: dict[str, str]) -> dict[str, int]:
        return {"characters": len(body["text"])}

    @routes.get("/found/{name}")
    async def find(name: str, q: str = "") -> dict[str, str]:
        return {"name": name, "q": q}

    @routes.get("/fails")
    async def fail() -> None:
        raise LookupError("a fault of ours")

    app = web.create_app("sample", lifespan=_lifespan, routers=(routes, relaying))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sample.test") as client:
        yield client


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a": "x\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": NaN}', "too large"),
        (b'{"a": %s1%s}' % (b"[" * 40, b"]" * 40), "nested"),
        (b'{"a": %s}' % (b"9" * 5000), "parsing"),
        (b'{"a": %s' % (b"[" * 100_000), "parsing"),
    ],
)
async def test_json_that_nothing_can_keep_is_refused(http: httpx.AsyncClient, body: bytes, words: str) -> None:
    answer = await http.post("/keeps", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Bad Request"
    assert words in answer.json()["detail"]


async def test_json_that_is_right_arrives_as_it_is(http: httpx.AsyncClient) -> None:
    document: dict[str, Any] = {"a": [1, 1.5, None, True, "x", {"": []}]}
    assert (await http.post("/keeps", json=document)).json() == document


async def test_a_route_that_relays_what_others_wrote_gets_all_of_it(http: httpx.AsyncClient) -> None:
    body = b'{"text": "a\\u0000b\\ud800"}'
    answer = await http.post("/relays", content=body, headers={"content-type": "application/json"})
    assert answer.json() == {"characters": 4}


async def test_what_does_not_fit_is_explained_whatever_it_is_called(http: httpx.AsyncClient) -> None:
    body = b'{"\\ud800": 1}'
    answer = await http.post("/relays", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(": Input should be a valid string")


@pytest.mark.parametrize("target", ["/found/a%00b", "/found/a?q=%00", "/%00"])
async def test_an_address_with_a_nul_character_is_refused(http: httpx.AsyncClient, target: str) -> None:
    answer = await http.get(target)
    assert answer.status_code == 400
    assert "%00" in answer.json()["detail"]


async def test_a_fault_is_answered_with_the_id_to_quote(http: httpx.AsyncClient) -> None:
    answer = await http.get("/fails", headers={"x-request-id": "req-of-mine"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "req-of-mine"
    assert "quote request id req-of-mine" in answer.json()["detail"]
    assert "fault of ours" not in answer.text
