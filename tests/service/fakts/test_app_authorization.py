"""The start of an app that speaks version 2 of the Fakts protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.fakts.body_limit import MAX_BODY
from services.fakts.models import Client
from tests.service.fakts.running import ORIGIN, RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANIFEST = {"identifier": "org.example.app", "version": "1.0"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    limits = {"starts_per_minute": 1000, "code_seconds": 600}
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **limits) as started:
        yield started


async def test_the_answer_is_that_of_the_protocol_with_or_without_a_slash(fakts: RunningFakts) -> None:
    clients = set()
    for path, seconds, granted in (("/o/app-authorization/", 300, 300), ("/o/app-authorization", 10**9, 600)):
        body = {"manifest": MANIFEST, "expiration_time_seconds": seconds, "redirect_uris": [], "of_the_future": 1}
        answer = await fakts.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        found = answer.json()
        assert found["status"] == "granted"
        assert found["user_code"] != found["device_code"]
        assert found["verification_uri"] == f"{ORIGIN}/configure"
        assert found["verification_uri_complete"] == f"{ORIGIN}/configure/{found['user_code']}"
        assert found["token_endpoint"] == f"{ORIGIN}/o/token/"
        assert abs(found["expires_in"] - granted) <= 60
        assert found["interval"] >= 1
        clients.add(found["client_id"])
    assert len(clients) == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "not a JSON object"),
        (b'{"manifest": {"identifier": "a", "identifier": "a", "version": "1"}}', 400, "twice"),
        (b'{"a": "' + b"x" * MAX_BODY + b'"}', 413, "larger than"),
        ({}, 400, "manifest"),
        ({"manifest": {**MANIFEST, "version": "\ud800"}}, 400, "surrogate"),
        ({"manifest": {**MANIFEST, "identifier": "constellation.gateway"}}, 400, "platform's own"),
        ({"manifest": MANIFEST, "requested_client_role": "boss"}, 400, "not known here"),
        ({"manifest": MANIFEST, "request_auth_key": True}, 400, "mesh"),
        ({"manifest": MANIFEST, "redirect_uris": ["javascript:alert(1)"]}, 400, "redirect_uris"),
    ],
)
async def test_a_bad_start_is_an_oauth_error_in_words(
    fakts: RunningFakts, body: Any, status: int, words: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await fakts.http.post("/o/app-authorization/", content=content)
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert (found["status"], found["error"]) == ("error", "invalid_request")
    assert words in found["error_description"]


async def test_a_logo_is_kept_and_never_fetched(fakts: RunningFakts) -> None:
    asked: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: asked.append(writer), "127.0.0.1", 0)
    async with server:
        logo = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/logo.png"
        started = await fakts.http.post("/o/app-authorization/", json={"manifest": {**MANIFEST, "logo": logo}})
        await fakts.ask("GET", "/admin/v1/codes", 200)
        await fakts.ask("POST", f"/admin/v1/codes/{started.json()['user_code']}/approve", 200)
    async with fakts.context.database.transaction() as session:
        client = await session.get_one(Client, started.json()["client_id"])
    assert client.manifest["logo"] == logo
    assert asked == []


async def test_a_form_is_the_start_of_a_registered_client(fakts: RunningFakts) -> None:
    answer = await fakts.http.post("/o/app-authorization/", data={"client_id": "nobody"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
