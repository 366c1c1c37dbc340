"""Secrets: kept, given to workers, and never told."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.service.registry.conftest import Platform

PATH = "/v1/algorithms/joe/hello/secrets"
VALUE = "hunter2-ü-very-secret"


def secret(**changes: Any) -> dict[str, Any]:
    return {
        "owner_type": "algorithm",
        "owner_id": "x",
        "provider_id": "x",
        "short_name": "token",
        "secret_key": "TOKEN",
        "secret_value": VALUE,
        "description": " ",
        **changes,
    }


async def environment(platform: Platform, revision: object) -> dict[str, str]:
    answer = await platform.ok("GET", f"/internal/revisions/{revision}/environment", "@worker")
    variables: dict[str, str] = answer["variables"]
    return variables


async def test_a_secret_reaches_those_who_start_replicas_and_nobody_else(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    await platform.create()
    spec = await platform.built()
    made = await platform.ok("POST", PATH, json=secret())
    listed = await platform.ok("GET", PATH)
    one = await platform.ok("GET", f"{PATH}/{made['id']}")
    assert listed["results"] == listed["secrets"] == [made] == [one]
    assert (made["short_name"], made["secret_key"]) == ("token", "TOKEN")
    assert await environment(platform, spec.id) == {"TOKEN": VALUE}
    deployer = await platform.ok("GET", f"/internal/revisions/{spec.id}/environment", "@deployer")
    assert deployer["variables"] == {"TOKEN": VALUE}, "for launches in clusters"
    for who in ("@gateway", "joe", "root", None):
        answer = await platform.ask("GET", f"/internal/revisions/{spec.id}/environment", who)
        assert answer.status_code in (401, 403)
    told = [made, listed, one, await platform.catalog(made["owner_id"]), await platform.builds()]
    told += [
        await platform.ok("GET", "/admin/v1/audit", "root"),
        await platform.ok("GET", "/v1/algorithms/joe/hello"),
    ]
    output = capsys.readouterr()
    assert VALUE not in f"{told} {output.out} {output.err}"
    async with platform.registry.database.transaction() as session:
        for table in ("secrets", "audit", "feed_entries", "algorithms"):
            rows = (await session.execute(text(f"select t::text from {table} t"))).scalars().all()
            assert VALUE not in "".join(rows)
            assert VALUE.encode().hex() not in "".join(rows)


async def test_each_change_is_a_new_version_in_the_catalog(platform: Platform) -> None:
    created = await platform.create()
    spec = await platform.built()

    async def version() -> int:
        entry = await platform.catalog(created["id"])
        assert entry is not None
        return entry.secrets_version

    assert await version() == 0
    made = await platform.ok("POST", PATH, json=secret())
    assert await version() == 1
    changed = await platform.ok("PUT", f"{PATH}/{made['id']}", json={"secret_value": "new", "description": "d"})
    assert (await version(), changed["description"], changed["short_name"]) == (2, "d", "token")
    assert await environment(platform, spec.id) == {"TOKEN": "new"}
    await platform.ok("PUT", f"{PATH}/{made['id']}", json={"secret_key": "OTHER", "short_name": "other"})
    assert await environment(platform, spec.id) == {"OTHER": "new"}
    assert (await platform.ask("DELETE", f"{PATH}/{made['id']}")).status_code == 204
    assert (await version(), await environment(platform, spec.id)) == (4, {})
    assert await platform.refused("DELETE", f"{PATH}/{made['id']}") == (404, 8008)


async def test_what_cannot_be_is_refused_without_the_value(platform: Platform) -> None:
    created = await platform.create()
    await platform.ok("POST", PATH, json=secret())
    for change, status in (
        ({"secret_key": "OTHER"}, 409),
        ({"short_name": "other"}, 409),
        ({"secret_key": "1X"}, 400),
        ({"secret_key": "A=B"}, 400),
        ({"secret_key": "ALGORITHMIA_API_KEY"}, 400),
        ({"short_name": ""}, 400),
        ({"short_name": "x", "secret_key": "X", "secret_value": f"{VALUE}\0"}, 400),
        ({"short_name": "x", "secret_key": "X", "secret_value": VALUE * 5000}, 400),
        ({"short_name": "x", "secret_key": "X", "secret_value": {"a": VALUE}}, 400),
        ({"short_name": "x", "secret_key": None}, 400),
    ):
        answer = await platform.ask("POST", PATH, json=secret(**change))
        assert answer.status_code == status, change
        assert VALUE not in answer.text
    for secret_id in (str(uuid4()), "x"):
        for method in ("GET", "PUT", "DELETE"):
            assert await platform.refused(method, f"{PATH}/{secret_id}", json={}) == (404, 8008)
    await platform.create("other")
    [kept] = (await platform.ok("GET", PATH))["results"]
    assert await platform.refused("GET", f"/v1/algorithms/joe/other/secrets/{kept['id']}") == (404, 8008)
    assert kept["owner_id"] == created["id"]


async def test_there_is_room_for_a_hundred(platform: Platform) -> None:
    await platform.create()
    for n in range(100):
        await platform.ok("POST", PATH, json=secret(short_name=f"s{n}", secret_key=f"S{n}"))
    assert await platform.refused("POST", PATH, json=secret()) == (400, 6001)


async def test_they_are_for_those_who_manage(platform: Platform) -> None:
    created = await platform.create("hello", "acme")
    path = f"/v1/algorithms/{created['id']}/secrets"
    made = await platform.ok("POST", path, "eve", json=secret())
    for who, expected in (("ann", (404, 1000)), ("max", (403, 2001)), ("joe_calls", (403, 2001))):
        for method, tail in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("PUT", f"/{made['id']}")):
            assert await platform.refused(method, f"{path}{tail}", who, json=secret()) == expected


async def test_they_go_with_their_algorithm(platform: Platform) -> None:
    await platform.create()
    spec = await platform.built()
    await platform.ok("POST", PATH, json=secret())
    await platform.ask("DELETE", "/v1/algorithms/joe/hello")
    answer = await platform.ask("GET", f"/internal/revisions/{spec.id}/environment", "@worker")
    assert answer.status_code == 404
    async with platform.registry.database.transaction() as session:
        assert (await session.execute(text("select count(*) from secrets"))).scalar_one() == 0


async def test_the_provider_is_listed_bare(platform: Platform) -> None:
    await platform.create()
    [provider] = await platform.ok("GET", "/v1/secret-provider")
    made = await platform.ok("POST", PATH, json=secret(provider_id=provider["id"]))
    assert (provider["isDefault"], made["provider_id"]) == (True, provider["id"])
