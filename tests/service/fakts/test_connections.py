"""A request holds one connection to the database at most: those who wait for a second while they hold one would in
the end all wait for each other."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

from services.fakts.oauth import console
from tests.service.fakts.browser import Browser
from tests.service.fakts.logging_in import basic, bearer, logged_in, relying_party, start
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

ABSENT = [{"key": "a", "service": "org.example.absent"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts")) as started:
        yield started


class Held:
    """How many connections each task holds."""

    def __init__(self) -> None:
        self.most = 0
        self._now: Counter[asyncio.Task[Any] | None] = Counter()
        self._holders: dict[ConnectionPoolEntry, asyncio.Task[Any] | None] = {}

    def out(self, _connection: object, entry: ConnectionPoolEntry, _proxy: object) -> None:
        task = self._holders[entry] = asyncio.current_task()
        self._now[task] += 1
        self.most = max(self.most, self._now[task])

    def back(self, _connection: object, entry: ConnectionPoolEntry) -> None:
        if entry in self._holders:
            self._now[self._holders.pop(entry)] -= 1


@pytest.fixture
def held(fakts: RunningFakts) -> Iterator[Held]:
    engine, found = fakts.context.database.engine.sync_engine, Held()
    event.listen(engine, "checkout", found.out)
    event.listen(engine, "checkin", found.back)
    yield found
    event.remove(engine, "checkout", found.out)
    event.remove(engine, "checkin", found.back)


def of_nobody() -> str:
    """A token that is signed with a key of somebody else's."""
    key = RSAKey.generate_key(2048, {"kid": "nobody"})
    said = {"sub": "x", "exp": int(time.time()) + 600, "scope": "", "sid": ""}
    return jwt.encode({"alg": "RS256", "kid": "nobody"}, said, key)


async def test_tokens_are_checked(fakts: RunningFakts, held: Held) -> None:
    party, app, strange = await relying_party(fakts), await logged_in(fakts), of_nobody()
    client = basic(party["client_id"], party["client_secret"])

    async def active(token: str, headers: dict[str, str] = client) -> bool:
        found = await fakts.ask("POST", "/o/introspect/", 200, data={"token": token}, headers=headers)
        return bool(found["active"])

    async def revoke(token: str, client_id: str) -> None:
        await fakts.ask("POST", "/o/revoke/", 200, data={"token": token, "client_id": client_id}, headers={})

    await revoke(strange, str(console.CLIENT_ID))
    assert not await active(strange)
    assert await active(app["access_token"])
    _, service = await fakts.join("gateway")
    assert await active(app["access_token"], service)
    await fakts.ask("GET", "/o/userinfo/", 200, headers=bearer(app["access_token"]))
    await revoke(app["access_token"], app["client_id"])
    assert not await active(app["access_token"])
    await fakts.ask("GET", "/o/userinfo/", 401, headers=bearer(app["access_token"]))
    assert held.most == 1


async def test_an_app_is_let_in_that_needs_what_nobody_offers(fakts: RunningFakts, held: Held) -> None:
    started = await start(fakts, requirements=ABSENT)
    path = f"/admin/v1/codes/{started['user_code']}/approve"
    problem = await fakts.ask("POST", path, 409, json={}, headers=fakts.admin | {"idempotency-key": "once"})
    assert "offers no org.example.absent" in problem["detail"]
    browser = Browser(fakts)
    await browser.sign_in(fakts.credentials["username"], fakts.credentials["password"])
    page = f"/configure/{(await start(fakts, requirements=ABSENT))['user_code']}"
    await browser.get(page)
    await browser.post(page, decision="approve")
    assert "offers no org.example.absent" in browser.page
    assert held.most == 1


async def test_a_password_is_changed(fakts: RunningFakts, held: Held) -> None:
    password = "the former password"
    await fakts.user("jane")
    await fakts.ask("PATCH", "/admin/v1/users/jane", 200, json={"password": password})
    browser = Browser(fakts)
    await browser.sign_in("jane", password)
    await browser.get("/signin/password")
    await browser.post("/signin/password", current="wrong", new="a new password", again="a new password")
    assert "not your current password" in browser.page
    await browser.post("/signin/password", current=password, new="a new password", again="a new password")
    assert "was changed" in browser.page
    assert held.most == 1
