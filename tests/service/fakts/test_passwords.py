"""Checking passwords for the other services."""

from __future__ import annotations

from typing import Any

import httpx
from sqlalchemy import select

from services.fakts.models import User
from tests.service.fakts.running import RunningFakts

PASSWORD = "correct horse battery"


async def user_with_password(fakts: RunningFakts, name: str) -> dict[str, str]:
    """Makes the user; returns the headers of a service that may ask."""
    await fakts.user(name)
    await fakts.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
    _, headers = await fakts.join("gateway")
    return headers


async def verify(fakts: RunningFakts, headers: dict[str, str], **body: Any) -> httpx.Response:
    return await fakts.http.post("/internal/passwords/verify", json=body, headers=headers)


async def test_the_right_password_gives_the_account(fakts: RunningFakts) -> None:
    headers = await user_with_password(fakts, "jane")
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201)
    answer = await verify(fakts, headers, username="jane", password=PASSWORD)
    assert answer.status_code == 200
    assert answer.json()["name"] == "jane"
    assert answer.json()["organizations"] == {"lab": "member"}
    assert "password" not in answer.text


async def test_a_wrong_password_an_unknown_name_and_no_password_look_the_same(fakts: RunningFakts) -> None:
    headers = await user_with_password(fakts, "jane")
    await fakts.user("keyonly")
    await user_with_password(fakts, "gone")
    await fakts.ask("DELETE", "/v1/users/gone", 204)
    bodies = []
    wrong = {"jane": "wrong", "nobody": PASSWORD, "keyonly": "", "gone": PASSWORD, "lab/x": ""}
    for name, password in wrong.items():
        answer = await verify(fakts, headers, username=name, password=password)
        assert answer.status_code == 401
        bodies.append({k: v for k, v in answer.json().items() if k != "request_id"})
    assert all(body == bodies[0] for body in bodies)


async def test_failed_attempts_are_limited_per_name_and_address(fakts: RunningFakts) -> None:
    headers = await user_with_password(fakts, "jane")

    async def attempt(password: str, *, name: str = "jane", address: str = "192.0.2.1") -> int:
        return (await verify(fakts, headers, username=name, password=password, address=address)).status_code

    assert await attempt(PASSWORD) == 200
    assert [await attempt("wrong") for _ in range(10)] == [401] * 10
    assert await attempt(PASSWORD) == 429
    assert await attempt(PASSWORD, name="JANE") == 429
    assert await attempt(PASSWORD, address="192.0.2.2") == 200
    assert [await attempt("wrong", name="nobody") for _ in range(11)] == [401] * 10 + [429]
    limited = await verify(fakts, headers, username="jane", password=PASSWORD, address="192.0.2.1")
    assert int(limited.headers["retry-after"]) > 0


async def test_one_password_tried_with_many_names_is_limited_per_address(fakts: RunningFakts) -> None:
    headers = await user_with_password(fakts, "jane")

    async def attempt(name: str, address: str | None) -> int:
        body = {"username": name, "password": PASSWORD, "address": address}
        return (await verify(fakts, headers, **body)).status_code

    assert [await attempt(f"user{number}", "192.0.2.1") for number in range(50)] == [401] * 50
    assert await attempt("jane", "192.0.2.1") == 429
    assert await attempt("jane", "192.0.2.2") == 200
    # A service that knows nobody's address asks for many people.
    assert [await attempt(f"user{number}", None) for number in range(51)] == [401] * 51
    assert await attempt("jane", None) == 200


async def test_passwords_are_kept_as_argon2id_and_have_a_least_length(fakts: RunningFakts) -> None:
    headers = await user_with_password(fakts, "jane")
    async with fakts.context.database.transaction() as session:
        stored = (await session.scalars(select(User.password_hash).where(User.name == "jane"))).one()
    assert stored is not None
    assert stored.startswith("$argon2id$")
    for bad in ("short", "x" * 1025):
        await fakts.ask("PATCH", "/admin/v1/users/jane", 400, json={"password": bad})
    await fakts.ask("PATCH", "/admin/v1/users/jane", 200, json={"password": "another password"})
    assert (await verify(fakts, headers, username="jane", password=PASSWORD)).status_code == 401
    assert (await verify(fakts, headers, username="jane", password="another password")).status_code == 200


async def test_a_malformed_question_is_refused_without_echoing_the_password(fakts: RunningFakts) -> None:
    _, headers = await fakts.join("gateway")
    for body in ({"username": "jane"}, {"username": "a\x00", "password": PASSWORD}, {"password": PASSWORD * 100}):
        answer = await verify(fakts, headers, **body)
        assert answer.status_code == 400
        assert PASSWORD not in answer.text
