"""The same write, asked twice with one `Idempotency-Key`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from libs.common import db
from services.fakts import loops
from services.fakts.models import Answered
from tests.service.fakts.running import RunningFakts

KEY_BODY = {"owner": "jane", "label": "k"}


async def send(fakts: RunningFakts, method: str, path: str, key: str, **options: Any) -> tuple[int, Any]:
    headers = {**options.pop("headers", fakts.admin), "idempotency-key": key}
    answer = await fakts.http.request(method, path, headers=headers, **options)
    return answer.status_code, answer.json() if answer.content else None


async def rows(fakts: RunningFakts) -> str:
    """All that the database keeps of answers, as text."""
    async with fakts.context.database.transaction() as session:
        return str((await session.execute(text("select * from answered"))).all())


async def test_a_secret_that_is_shown_once_is_shown_again_to_who_lost_the_answer_and_kept_from_others(
    fakts: RunningFakts,
) -> None:
    await fakts.user("jane")
    answers = await asyncio.gather(
        *(send(fakts, "POST", "/admin/v1/keys", "the-first", json=KEY_BODY) for _ in range(4))
    )
    status, made = answers[0]
    assert status == 201
    assert all(answer == answers[0] for answer in answers)
    assert len((await fakts.ask("GET", "/admin/v1/keys?owner=jane", 200))["items"]) == 1
    kept = await rows(fakts)
    assert made["key"] not in kept
    assert "the-first" not in kept, "who reads the row cannot ask with its key"
    _, another = await send(fakts, "POST", "/admin/v1/keys", "the-second", json=KEY_BODY)
    assert another["key"] != made["key"]


@pytest.mark.parametrize(
    ("path", "body", "shown"),
    [
        ("/admin/v1/mandates", {"kind": "service", "identifiers": ["constellation.worker"]}, "key"),
        ("/admin/v1/redeem-tokens", {"identifiers": ["org.example.app"], "account": "jane"}, "token"),
        ("/v1/organizations/lab/invites", {}, "token"),
        ("/v1/users/jane/keys", {"key_label": "mine"}, "api_key"),
    ],
)
async def test_whatever_shows_a_secret(fakts: RunningFakts, path: str, body: dict[str, Any], shown: str) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    first = await send(fakts, "POST", path, "k", json=body)
    assert first[0] in (200, 201), first
    assert await send(fakts, "POST", path, "k", json=body) == first
    assert first[1][shown] not in await rows(fakts)


async def test_a_key_is_good_for_one_request_of_one_account(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    body = {"username": "joe", "email": "joe@example.org"}
    first = await send(fakts, "POST", "/v1/users", "k", json=body)
    assert first[0] == 201
    assert await send(fakts, "POST", "/v1/users", "k", json=dict(reversed(body.items()))) == first, (
        "the same document"
    )
    for method, path, asked in (
        ("POST", "/v1/users", {**body, "email": "other@example.org"}),
        ("POST", "/v1/users?x=1", body),
        ("PUT", "/v1/users/joe", body),
    ):
        status, refusal = await send(fakts, method, path, "k", json=asked)
        assert status == 422, refusal
        assert "this Idempotency-Key was used for another request" in str(refusal)
    other = {"authorization": await fakts.key("jane", "allow_algo_management")}
    answer = await send(fakts, "POST", "/v1/users/jane/keys", "k", json={"key_label": "x"}, headers=other)
    assert answer[0] == 201, "keys of others are others"
    assert (await fakts.http.post("/v1/users", json=body, headers=fakts.admin)).status_code == 409, "without a key"


async def test_what_failed_was_not_done_and_may_be_asked_again(fakts: RunningFakts) -> None:
    assert (await send(fakts, "POST", "/admin/v1/keys", "k", json=KEY_BODY))[0] == 404
    await fakts.user("jane")
    assert (await send(fakts, "POST", "/admin/v1/keys", "k", json=KEY_BODY))[0] == 201


async def test_an_answer_without_a_body_is_given_again(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    path = "/v1/organizations/lab/members/jane"
    assert await send(fakts, "PUT", path, "k") == (201, None)
    assert await send(fakts, "PUT", path, "k") == (201, None)
    assert await send(fakts, "PUT", path, "another") == (200, None)


async def test_answers_are_forgotten_after_a_day(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await send(fakts, "POST", "/admin/v1/keys", "old", json=KEY_BODY)
    async with fakts.context.database.transaction() as session:
        await session.execute(update(Answered).values(at=db.now() - timedelta(hours=25)))
    await send(fakts, "POST", "/admin/v1/keys", "new", json=KEY_BODY)
    await loops.forget(fakts.context)
    async with fakts.context.database.transaction() as session:
        assert (await session.execute(text("select count(*) from answered"))).scalar_one() == 1


async def test_a_body_whose_length_is_not_said_is_refused_with_a_key(fakts: RunningFakts) -> None:
    async def pieces() -> Any:
        yield b'{"username": "joe", "email": "joe@example.org"}'

    headers = {**fakts.admin, "idempotency-key": "k", "content-type": "application/json"}
    answer = await fakts.http.post("/v1/users", content=pieces(), headers=headers)
    assert (answer.status_code, "Content-Length" in answer.text) == (400, True)
