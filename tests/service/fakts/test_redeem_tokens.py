"""Redeem tokens: apps that an administrator approved before they start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select, update

from libs.common import db
from services.fakts.models import Client, Login, RedeemToken
from services.fakts.oauth.headless import REDEEM_GRANT
from tests.service.fakts.logging_in import refusal
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts")) as started:
        await started.user("anne")
        await started.organization("lab")
        yield started


async def make(fakts: RunningFakts, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = await fakts.ask("POST", "/admin/v1/redeem-tokens", 201, json=body)
    return made


async def redeem(
    fakts: RunningFakts, token: str, identifier: str = "org.example.app", **manifest: Any
) -> dict[str, Any]:
    document = {"identifier": identifier, "version": "1.0", "scopes": ["openid", "read"], **manifest}
    answer = await fakts.http.post("/lok/f/redeem/", json={"manifest": document, "token": token})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(fakts: RunningFakts, words: str, *args: Any, **manifest: Any) -> None:
    answer = await redeem(fakts, *args, **manifest)
    assert (answer["status"], answer["error"]) == ("error", answer["message"])
    assert words in answer["error"], answer


async def claimed(fakts: RunningFakts, answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["status"] == "granted", answer
    claim = await fakts.http.post("/lok/f/claim/", json={"token": answer["token"]})
    config: dict[str, Any] = claim.json()["config"]
    return config


async def test_an_empty_body_makes_a_token_for_one_app_that_acts_for_the_caller(fakts: RunningFakts) -> None:
    made = await fakts.ask("POST", "/admin/v1/redeem-tokens", 201)
    assert (made["account"], made["uses"], made["identifiers"]) == ("admin", 1, ["*"])
    answers = await asyncio.gather(*(redeem(fakts, made["token"]) for _ in range(3)))
    [token] = {answer["token"] for answer in answers}
    config = await claimed(fakts, {"status": "granted", "token": token})
    assert config["auth"]["scopes"] == ["openid", "read"]
    await refused(fakts, "as many apps as it may (1)", made["token"], version="1.1")
    assert (await redeem(fakts, made["token"]))["token"] == token
    items = (await fakts.ask("GET", "/admin/v1/redeem-tokens?limit=1000", 200))["items"]
    [found] = [item for item in items if item["id"] == made["id"]]
    assert found["used"] == 1
    assert made["token"] not in str(items)
    async with fakts.context.database.transaction() as session:
        client = await session.get_one(Client, config["auth"]["client_id"])
        client.ended_at = db.now()
    await refused(fakts, "revoked", made["token"])


async def test_a_token_holds_to_what_it_is_pinned_to(fakts: RunningFakts) -> None:
    made = await make(
        fakts, identifiers=["org.example.*"], versions=["1.*"], scopes=["read"], uses=None, account="anne"
    )
    token = made["token"]
    config = await claimed(fakts, await redeem(fakts, token))
    assert config["auth"]["scopes"] == ["read"]
    other = await claimed(fakts, await redeem(fakts, token, device_id="other"))
    assert other["auth"]["client_id"] != config["auth"]["client_id"]
    await refused(fakts, "not for 'com.example'", token, "com.example")
    await refused(fakts, "not for 'org.example.app' 2.0", token, version="2.0")
    everything = (await make(fakts, uses=None))["token"]
    await refused(fakts, "not for 'constellation.worker'", everything, "constellation.worker")
    needs = [{"key": "x", "service": "org.example.absent"}]
    await refused(fakts, "This deployment offers no org.example.absent.", token, requirements=needs)
    assert (await redeem(fakts, token, requirements=[needs[0] | {"optional": True}]))["status"] == "granted"
    async with fakts.context.database.transaction() as session:
        await session.execute(update(RedeemToken).values(expires_at=db.now() - timedelta(seconds=1)))
    await refused(fakts, "expired", token)


async def test_a_revoked_or_unknown_token_lets_nobody_in_and_whoever_was_stays(fakts: RunningFakts) -> None:
    made = await make(fakts)
    answer = await redeem(fakts, made["token"])
    for _ in range(2):
        await fakts.ask("DELETE", f"/admin/v1/redeem-tokens/{made['id']}", 204)
    await refused(fakts, "revoked", made["token"])
    await claimed(fakts, answer)
    await fakts.ask("DELETE", f"/admin/v1/redeem-tokens/{uuid4()}", 404)
    await refused(fakts, "Invalid redeem token", "never-issued")


@pytest.mark.parametrize(
    ("leaves", "words"), [("", "not active any more"), ("lab", "not in the organization any more")]
)
async def test_a_token_lets_nobody_in_for_somebody_who_left(fakts: RunningFakts, leaves: str, words: str) -> None:
    name = f"leaves{leaves}"
    await fakts.user(name)
    await fakts.ask("PUT", f"/v1/organizations/lab/members/{name}", 201)
    token = (await make(fakts, account=name, organization="lab", uses=None))["token"]
    document = {"identifier": "org.example.app", "version": "1.0", "scopes": ["openid", "read"]}

    async def log_in(**manifest: Any) -> httpx.Response:
        form = {"redeem_token": token, "manifest": json.dumps({**document, **manifest})}
        return await fakts.http.post("/o/token/", data={"grant_type": REDEEM_GRANT, **form})

    async def kept() -> list[int | None]:
        async with fakts.context.database.transaction() as session:
            return [await session.scalar(select(func.count()).select_from(table)) for table in (Client, Login)]

    assert (await log_in()).status_code == 200
    await fakts.ask("DELETE", f"/v1/organizations/lab/members/{name}" if leaves else f"/v1/users/{name}", 204)
    before = await kept()
    for device in (None, "another"):
        refusal(await log_in(device_id=device), "invalid_grant", words)
        await refused(fakts, words, token, device_id=device)
    assert await kept() == before


async def test_a_token_for_nobody_or_of_no_pattern_is_refused(fakts: RunningFakts) -> None:
    for body, status, words in [
        ({"account": "nobody"}, 404, "no user 'nobody'"),
        ({"organization": "nowhere"}, 404, "nowhere"),
        ({"account": "anne", "organization": "lab"}, 400, "no member of 'lab'"),
        ({"identifiers": ["a*b*c*d*e"]}, 400, "no pattern"),
        ({"identifiers": []}, 400, "identifiers"),
        ({"uses": 0}, 400, "uses"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "future"),
    ]:
        problem = await fakts.ask("POST", "/admin/v1/redeem-tokens", status, json=body)
        assert words in problem["detail"], problem
    made = await make(fakts, organization="lab")
    config = await claimed(fakts, await redeem(fakts, made["token"]))
    async with fakts.context.database.transaction() as session:
        assert (await session.get_one(Client, config["auth"]["client_id"])).organization_id is not None
