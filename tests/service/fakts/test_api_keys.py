"""API keys, from their making to their end, here and at those who follow the feed."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from libs.common import db
from libs.common.contracts.feeds import FeedPage
from libs.common.directory import Directory
from libs.common.feed import FeedFollower
from libs.common.loops import tasks
from services.fakts import loops
from services.fakts.models import ApiKey
from tests.service.fakts.running import RunningFakts
from tests.support.eventually import UNASKED, eventually

FORM = re.compile(r"sim[A-Za-z0-9+/]{24}1")


@asynccontextmanager
async def followed(fakts: RunningFakts) -> AsyncIterator[Directory]:
    """The directory of a service that follows the feed over HTTP."""
    _, headers = await fakts.join("gateway")

    async def fetch(*, since: int, epoch: str, wait: float) -> FeedPage:
        params: dict[str, str | float] = {"since": since, "epoch": epoch, "wait": wait}
        answer = await fakts.http.get("/internal/feeds/identity", params=params, headers=headers)
        return FeedPage.model_validate_json(answer.content)

    directory = Directory()
    follower = FeedFollower("identity", fetch, directory.apply)
    async with tasks(follower.run()):
        await asyncio.wait_for(follower.ready.wait(), 60)
        yield directory


async def test_a_key_is_in_force_everywhere_at_once_and_so_is_its_end(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    async with followed(fakts) as directory:
        raw = await fakts.key("jane", "allow_algo")
        principal = await eventually(lambda: directory.principal(raw), UNASKED)
        assert principal is not None
        assert (principal.name, principal.permissions.allow_algo, principal.permissions.allow_data) == (
            "jane",
            True,
            False,
        )
        listed = (await fakts.ask("GET", "/v1/users/jane/keys", 200))["results"]
        await fakts.ask("DELETE", f"/admin/v1/keys/{listed[0]['id']}", 204)
        await eventually(lambda: directory.principal(raw) is None, UNASKED)
        await fakts.ask("DELETE", f"/admin/v1/keys/{listed[0]['id']}", 204)


async def test_a_deactivated_account_is_nobody_at_once(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    async with followed(fakts) as directory:
        raw = await fakts.key("jane", "allow_algo")
        await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201)
        await eventually(lambda: (p := directory.principal(raw)) and p.belongs_to("lab"), UNASKED)
        await fakts.ask("DELETE", "/v1/users/jane", 204)
        await eventually(lambda: directory.principal(raw) is None, UNASKED)
        assert directory.accounts["jane"].active is False


async def test_a_key_is_shown_once_and_kept_as_a_hash(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    permissions = {"allow_algo": True, "algo_acl": ["algo://jane/*", "algo://jane/Echo/*"], "referer_host": "e.org"}
    body = {"key_label": "mine", "permissions": permissions}
    made = await fakts.ask("POST", "/v1/users/jane/keys", 201, json=body)
    raw = made.pop("api_key")
    assert FORM.fullmatch(raw)
    assert len(raw) == len(made["api_key_mask"]) == 28
    assert made["api_key_mask"].endswith(raw[-5:])
    assert raw[3:-5] not in made["api_key_mask"]
    assert (made["key_label"], made["key_type"], made["owner_name"]) == ("mine", "AlgorithmKey", "jane")
    assert made["permissions"]["algo_acl"] == permissions["algo_acl"]
    assert made["permissions"]["allow_data_write"] is False
    assert (await fakts.ask("GET", "/v1/users/jane/keys", 200))["results"] == [made]
    assert (await fakts.ask("GET", "/admin/v1/keys", 200, params={"owner": "jane"}))["items"] == [made]
    async with fakts.context.database.transaction() as session:
        row = (await session.scalars(select(ApiKey).where(ApiKey.label == "mine"))).one()
    assert row.digest == hashlib.sha256(raw.encode()).hexdigest()
    assert raw not in repr(vars(row))


async def test_what_cannot_be_a_key_is_refused(fakts: RunningFakts) -> None:
    past = (db.now() - timedelta(seconds=1)).isoformat()
    bodies: list[dict[str, Any]] = [
        {},
        {"key_label": ""},
        {"key_label": "x" * 101},
        {"key_label": "x", "key_type": "Other"},
        {"key_label": "x", "permissions": {"algo_acl": ["algo://jane"]}},
        {"key_label": "x", "permissions": {"algo_acl": ["algo://*"] * 201}},
        {"key_label": "x", "expires_at": past},
        {"key_label": "x", "expires_at": "2099-01-01T00:00:00"},
    ]
    for body in bodies:
        await fakts.ask("POST", "/v1/users/admin/keys", 400, json=body)
    await fakts.ask("POST", "/v1/users/nobody/keys", 404, json={"key_label": "x"})
    await fakts.ask("POST", "/admin/v1/keys", 404, json={"owner": "nobody", "label": "x"})
    await fakts.ask("GET", "/admin/v1/keys", 404, params={"owner": "nobody"})


async def test_users_care_for_their_own_keys_with_one_that_manages(fakts: RunningFakts) -> None:
    for name in ("jane", "joe"):
        await fakts.user(name)
    manages = {"authorization": await fakts.key("jane", "allow_algo", "allow_algo_management")}
    calls = {"authorization": await fakts.key("jane", "allow_algo")}
    made = await fakts.ask("POST", "/v1/users/jane/keys", 201, json={"key_label": "x"}, headers=manages)
    await fakts.ask("POST", "/v1/users/jane/keys", 403, json={"key_label": "x"}, headers=calls)
    await fakts.ask("DELETE", f"/v1/users/jane/keys/{made['id']}", 403, headers=calls)
    await fakts.ask("POST", "/v1/users/joe/keys", 404, json={"key_label": "x"}, headers=manages)
    await fakts.ask("GET", "/v1/users/joe/keys", 404, headers=manages)
    joes = (await fakts.ask("POST", "/v1/users/joe/keys", 201, json={"key_label": "x"}))["id"]
    await fakts.ask("DELETE", f"/v1/users/jane/keys/{joes}", 404, headers=manages)
    await fakts.ask("DELETE", f"/v1/users/jane/keys/{made['id']}", 204, headers=manages)
    assert len((await fakts.ask("GET", "/v1/users/jane/keys", 200, headers=calls))["results"]) == 2


async def test_a_key_gives_away_no_more_than_it_has(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    soon = db.now() + timedelta(days=1)
    limits = {"allow_algo": True, "allow_algo_management": True, "algo_acl": ["algo://jane/*"]}
    body = {"owner": "jane", "label": "k", "permissions": limits, "expires_at": soon.isoformat()}
    limited = {"authorization": (await fakts.ask("POST", "/admin/v1/keys", 201, json=body))["key"]}
    within = {"allow_algo": True, "algo_acl": ["algo://jane/Echo/*"]}
    too_much: list[dict[str, Any]] = [
        {"permissions": {"allow_data": True}},
        {"permissions": {"allow_algo": True}},
        {"permissions": {"allow_algo": True, "algo_acl": ["algo://joe/*"]}},
        {"permissions": within, "expires_at": None},
        {"permissions": within, "expires_at": (soon + timedelta(days=1)).isoformat()},
        {"key_type": "PlatformAdminKey", "expires_at": soon.isoformat()},
    ]
    for wanted in too_much:
        new = {"key_label": "x", "expires_at": soon.isoformat(), **wanted}
        await fakts.ask("POST", "/v1/users/jane/keys", 403, json=new, headers=limited)
    good = {"key_label": "x", "permissions": within, "expires_at": soon.isoformat()}
    await fakts.ask("POST", "/v1/users/jane/keys", 201, json=good, headers=limited)


async def test_a_key_is_changed_within_what_the_asking_one_has(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    rights = {"allow_algo": True, "allow_algo_management": True}
    mine = {"authorization": await fakts.key("jane", *rights)}
    raw = await fakts.key("jane", "allow_algo", "allow_data")
    keys = (await fakts.ask("GET", "/v1/users/jane/keys", 200))["results"]
    wide = next(key["id"] for key in keys if key["permissions"]["allow_data"])
    path = f"/v1/users/jane/keys/{wide}"
    assert (await fakts.ask("PATCH", path, 200, json={"key_label": "renamed"}, headers=mine))[
        "key_label"
    ] == "renamed"
    await fakts.ask("PATCH", path, 403, json={"expires_at": "2099-01-01T00:00:00Z"}, headers=mine)
    await fakts.ask("PATCH", path, 403, json={"permissions": {"allow_data": True}}, headers=mine)
    until = {"permissions": {"allow_algo": True}, "expires_at": "2099-01-01T00:00:00Z"}
    narrowed = await fakts.ask("PATCH", path, 200, json=until, headers=mine)
    assert narrowed["permissions"]["allow_data"] is False
    assert narrowed["expires_at"] == "2099-01-01T00:00:00+00:00"
    async with followed(fakts) as directory:
        changed = await fakts.ask("PATCH", f"/admin/v1/keys/{wide}", 200, json={"expires_at": None})
        assert (changed["expires_at"], changed["key_label"]) == (None, "renamed")
        assert (principal := directory.principal(raw)) is not None
        assert principal.permissions.allow_algo
        nothing: dict[str, Any] = {"permissions": {}}
        await fakts.ask("PATCH", f"/admin/v1/keys/{wide}", 200, json=nothing)
        await eventually(lambda: (p := directory.principal(raw)) and not p.permissions.allow_algo, timeout=UNASKED)
    listed = (await fakts.ask("GET", "/v1/users/admin/keys", 200))["results"]
    admin_key = next(key["id"] for key in listed if key["key_type"] == "PlatformAdminKey")
    await fakts.ask("PATCH", f"/admin/v1/keys/{admin_key}", 400, json=nothing)
    await fakts.ask("DELETE", path, 204)
    await fakts.ask("PATCH", path, 409, json={"key_label": "x"})


async def test_keys_for_members_are_made_by_administrators(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    path, new = "/v1/organizations/lab/members/jane/keys", {"key_label": "x"}
    await fakts.ask("POST", path, 404, json=new)
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    owner = {"authorization": await fakts.key("jane", "allow_algo_management")}
    await fakts.ask("POST", path, 403, json=new, headers=owner)
    assert (await fakts.ask("POST", path, 201, json=new))["owner_name"] == "jane"


async def test_admin_keys_reach_administrators_routes_and_standard_keys_do_not(fakts: RunningFakts) -> None:
    standard = {"authorization": fakts.credentials["api_key"]}
    await fakts.ask("GET", "/admin/v1/users", 403, headers=standard)
    own = {"key_label": "x", "key_type": "PlatformAdminKey"}
    await fakts.ask("POST", "/v1/users/admin/keys", 403, json=own, headers=standard)
    made = await fakts.ask("POST", "/v1/users/admin/keys", 201, json=own)
    assert made["key_type"] == "PlatformAdminKey"
    for shape in (made["api_key"], f"Simple {made['api_key']}", f"Bearer {made['api_key']}"):
        await fakts.ask("GET", "/admin/v1/users", 200, headers={"authorization": shape})


async def test_keys_are_imported_once_and_only_in_their_form(fakts: RunningFakts) -> None:
    for name in ("jane", "joe"):
        await fakts.user(name)
    raw = "sim" + "aB3+/" * 4 + "wxyz" + "1"
    body = {"key_label": "old", "api_key": raw, "permissions": {"allow_algo": True}}
    made = await fakts.ask("POST", "/v1/admin/users/jane/keys", 201, json=body)
    assert "api_key" not in made
    assert await fakts.ask("POST", "/v1/admin/users/jane/keys", 201, json=body) == made
    await fakts.ask("GET", "/v1/users/jane", 200, headers={"authorization": raw})
    await fakts.ask("POST", "/v1/admin/users/joe/keys", 409, json=body)
    await fakts.ask("POST", "/v1/admin/users/jane/keys", 400, json={**body, "api_key": "sim" + "a" * 23 + "1"})
    await fakts.ask("POST", "/v1/admin/users/jane/keys", 403, json=body, headers={"authorization": raw})
    await fakts.ask("DELETE", f"/admin/v1/keys/{made['id']}", 204)
    await fakts.ask("POST", "/v1/admin/users/jane/keys", 409, json=body)


async def test_an_organizations_keys_outlive_their_makers(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    await fakts.organization("lab")
    await fakts.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "owner"})
    jane = {"authorization": await fakts.key("jane", "allow_algo", "allow_algo_management")}
    new = {"key_label": "ci", "permissions": {"allow_algo": True}}
    made = await fakts.ask("POST", "/v1/organizations/lab/keys", 201, json=new, headers=jane)
    assert made["owner_name"] == "lab"
    admin_key = {"key_label": "x", "key_type": "PlatformAdminKey"}
    await fakts.ask("POST", "/v1/organizations/lab/keys", 400, json=admin_key)
    await fakts.ask("DELETE", "/v1/users/jane", 204)
    await fakts.ask("GET", "/v1/users/x", 404, headers={"authorization": made["api_key"]})
    listed = await fakts.ask("GET", "/v1/organizations/lab/keys", 200)
    assert [key["id"] for key in listed["results"]] == [made["id"]]
    await fakts.ask("DELETE", f"/v1/organizations/lab/keys/{made['id']}", 204)
    await fakts.refuses(made["api_key"])


async def test_an_expired_key_is_refused_and_leaves_the_feed(fakts: RunningFakts) -> None:
    await fakts.user("jane")
    expires = (db.now() + timedelta(seconds=0.4)).isoformat()
    raw = await fakts.key("jane", "allow_algo", expires_at=expires)
    before = await fakts.context.publisher.page("identity", since=0)
    await fakts.refuses(raw)
    await loops.forget(fakts.context)
    page = await fakts.context.publisher.page("identity", since=before.version, epoch=before.epoch)
    ended = [change for change in page.changes if change.key == f"key:{hashlib.sha256(raw.encode()).hexdigest()}"]
    assert [change.body for change in ended] == [None]
    assert (await fakts.ask("GET", "/v1/users/jane/keys", 200))["results"] == []


@pytest.mark.parametrize("rounds", [20])
async def test_changes_of_one_account_at_once_all_reach_the_feed(fakts: RunningFakts, rounds: int) -> None:
    await fakts.user("jane")
    names = [f"org{number}" for number in range(rounds)]
    for name in names:
        await fakts.organization(name)
    await asyncio.gather(*(fakts.ask("PUT", f"/v1/organizations/{n}/members/jane", 201) for n in names))
    page = await fakts.context.publisher.page("identity", since=0)
    jane = next(change.body for change in page.changes if change.key == "account:jane")
    assert jane is not None
    assert set(jane["organizations"]) == set(names)
