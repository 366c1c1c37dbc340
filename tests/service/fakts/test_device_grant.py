"""Apps that a person lets in: polling, the answer, the chain of refresh tokens, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from libs.common import db
from libs.common.contracts.identity import Ended
from libs.common.directory import key_hash
from services.fakts import loops
from services.fakts.models import Approval, FeedEntry, Login, RefreshToken
from tests.service.fakts.logging_in import bearer, claims_of, logged_in, poll, refreshed, refusal, start
from tests.service.fakts.running import RunningFakts, running, settings_for, shared
from tests.support.eventually import eventually
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = {"service": "org.example.probe", "instance": "probe-1", "aliases": [{"id": "a", "host": "127.0.0.1"}]}
NEEDS = [
    {"key": "probe", "service": "org.example.probe"},
    {"key": "extra", "service": "org.example.probe", "optional": True},
    {"key": "absent", "service": "org.example.absent", "optional": True},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    many: dict[str, Any] = {"token_requests_per_minute": 100_000, "starts_per_minute": 1000}
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **many) as started:
        await started.ask("POST", "/admin/v1/services", 201, json=SERVICE)
        await started.organization("lab")
        yield started


async def change(fakts: RunningFakts, statement: Any) -> None:
    async with fakts.context.database.transaction() as session:
        await session.execute(statement)


async def is_refused_everywhere(fakts: RunningFakts, answer: dict[str, Any]) -> None:
    """The access token is no good any more, neither by the feed nor by the rows."""

    async def unknown() -> bool:
        found = await fakts.http.get("/v1/users/admin", headers=bearer(answer["access_token"]))
        return found.status_code == 401

    await eventually(unknown, timeout=60)
    assert (await fakts.http.get("/o/userinfo/", headers=bearer(answer["access_token"]))).status_code == 401


async def test_an_app_is_let_in_with_the_envelope_and_a_token_that_acts_for_the_person(fakts: RunningFakts) -> None:
    started = await start(fakts, requirements=NEEDS, device_id="desk", scopes=["openid", "algo:call", "admin", "own"])
    refusal_ = await poll(fakts, started)
    assert (refusal_.status_code, refusal_.json()) == (400, {"error": "authorization_pending"})
    early = await poll(fakts, started)
    assert (early.status_code, early.json()) == (400, {"error": "slow_down"})
    await fakts.ask(
        "POST",
        f"/admin/v1/codes/{started['user_code']}/approve",
        200,
        json={"declined": ["extra"], "organization": "lab"},
    )
    refusal(await poll(fakts, started, client_id="unknown"), "invalid_client")
    body = (await poll(fakts, started)).json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "client_id",
        "refresh_token",
        "self",
        "instances",
        "statuses",
    }
    assert (body["client_id"], body["token_type"], body["expires_in"]) == (started["client_id"], "Bearer", 3600)
    assert body["statuses"] == {"probe": "granted", "extra": "denied", "absent": "unavailable"}
    assert body["instances"]["probe"]["identifier"] == "probe-1"
    assert body["self"]["alias"]["host"] == "fakts.test"
    said = claims_of(body["access_token"])
    admin = await fakts.ask("GET", "/v1/users/admin", 200)
    organization = await fakts.ask("GET", "/v1/organizations/lab", 200)
    assert (said["sub"], said["preferred_username"]) == (admin["id"], "admin")
    assert (said["active_org"], said["org"]) == ("lab", organization["id"])
    assert said["roles"] == ["owner", "admin"]
    assert said["aud"] == ["constellation", "probe-1"]
    assert (said["client_app"], said["client_release"], said["client_device"]) == ("org.example.app", "1.0", "desk")
    assert said["scope"] == body["scope"] == "openid algo:call admin own"
    await fakts.ask("GET", "/admin/v1/users", 200, headers=bearer(body["access_token"]))
    narrow = (await refreshed(fakts, body, scope="openid")).json()
    assert claims_of(narrow["access_token"])["scope"] == "openid"
    await fakts.ask("GET", "/admin/v1/users", 403, headers=bearer(narrow["access_token"]))
    report = {"alias_reports": {"probe": {"alias_id": "a", "reason": None, "valid": True}}, "functional": True}
    await fakts.ask("POST", "/lok/f/report/", 200, headers=bearer(body["access_token"]), json=report)
    apps = await fakts.ask("GET", "/admin/v1/apps?q=EXAMPLE.app", 200)
    mine = next(one for one in apps["items"] if one["id"] == body["client_id"])
    assert (mine["account"], mine["organization"], mine["state"]) == ("admin", "lab", "approved")
    assert mine["report"] == report


async def test_a_device_code_is_spent_once_however_many_poll(fakts: RunningFakts) -> None:
    started = await start(fakts)
    await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 200, json={})
    answers = await asyncio.gather(*(poll(fakts, started) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 19]
    for answer in answers:
        if answer.status_code == 400:
            refusal(answer, "invalid_grant", "used before")


async def test_a_denied_an_expired_and_an_unknown_code_are_told_in_words(fakts: RunningFakts) -> None:
    denied = await start(fakts)
    path = f"/admin/v1/codes/{denied['user_code']}/deny"
    await fakts.ask("POST", path, 200, json={"reason": 'Not "here", Jürgen.'})
    for _ in range(2):
        refusal(await poll(fakts, denied), "access_denied", "Not 'here', J'rgen.")
    lacking = await start(fakts, requirements=[{"key": "x", "service": "org.example.absent"}])
    await fakts.ask("POST", f"/admin/v1/codes/{lacking['user_code']}/approve", 409, json={})
    refusal(await poll(fakts, lacking), "access_denied", "This deployment offers no org.example.absent.")
    expired = await start(fakts)
    was = Approval.secret_digest == key_hash(expired["device_code"])
    await change(fakts, update(Approval).where(was).values(expires_at=db.now() - timedelta(seconds=1)))
    assert (await poll(fakts, expired)).json()["error"] == "expired_token"
    refusal(await poll(fakts, {**expired, "device_code": "made-up"}), "invalid_grant", "not known")
    refusal(await poll(fakts, {**expired, "device_code": ""}), "invalid_request")
    other = await start(fakts)
    refusal(await poll(fakts, {**other, "client_id": expired["client_id"]}), "unauthorized_client")


async def test_a_refresh_token_rotates_with_a_grace_and_the_chain_outlives_a_spent_one(fakts: RunningFakts) -> None:
    first = await logged_in(fakts, requirements=NEEDS)
    both = await asyncio.gather(refreshed(fakts, first), refreshed(fakts, first))
    assert [answer.status_code for answer in both] == [200, 200]
    second, third = (answer.json() for answer in both)
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    assert second["statuses"] == first["statuses"]
    assert second["client_id"] == first["client_id"]
    spent = RefreshToken.digest == key_hash(first["refresh_token"])
    await change(fakts, update(RefreshToken).where(spent).values(spent_at=db.now() - timedelta(seconds=61)))
    refusal(await refreshed(fakts, first), "invalid_grant", "used before")
    for survivor in (second, third):
        assert (await refreshed(fakts, survivor)).status_code == 200
    idle = (await refreshed(fakts, second)).json()
    unused = RefreshToken.digest == key_hash(idle["refresh_token"])
    await change(fakts, update(RefreshToken).where(unused).values(expires_at=db.now()))
    refusal(await refreshed(fakts, idle), "invalid_grant")
    stranger = await logged_in(fakts)
    refusal(await refreshed(fakts, {**third, "client_id": stranger["client_id"]}), "invalid_grant")
    refusal(await refreshed(fakts, {**third, "refresh_token": "made-up"}), "invalid_grant", "not known")
    refusal(await refreshed(fakts, stranger, scope="openid admin"), "invalid_scope")
    assert (await refreshed(fakts, third)).status_code == 200
    assert (await refreshed(fakts, stranger)).status_code == 200
    login = Login.id == claims_of(third["access_token"])["sid"]
    await change(fakts, update(Login).where(login).values(ends_at=db.now()))
    refusal(await refreshed(fakts, third), "invalid_grant", "lasted")


async def test_a_logout_ends_one_login_everywhere_and_no_other(fakts: RunningFakts) -> None:
    mine, other = await logged_in(fakts), await logged_in(fakts)
    await fakts.ask("GET", "/v1/users/admin", 200, headers=bearer(mine["access_token"]))
    form = {"token": mine["refresh_token"], "token_type_hint": "refresh_token", "client_id": mine["client_id"]}
    refused = await fakts.http.post("/o/revoke/", data={**form, "client_id": other["client_id"]})
    refusal(refused, "invalid_grant")
    for token in (mine["refresh_token"], mine["refresh_token"], "unknown"):
        answer = await fakts.http.post("/o/revoke/", data={**form, "token": token})
        assert (answer.status_code, answer.json()) == (200, {})
    await is_refused_everywhere(fakts, mine)
    refusal(await refreshed(fakts, mine), "invalid_grant", "ended")
    await fakts.ask("GET", "/v1/users/admin", 200, headers=bearer(other["access_token"]))
    by_access_token = {"token": other["access_token"], "token_type_hint": "odd", "client_id": other["client_id"]}
    assert (await fakts.http.post("/o/revoke/", data=by_access_token)).status_code == 200
    await is_refused_everywhere(fakts, other)
    refusal(await fakts.http.post("/o/revoke/", data={"client_id": mine["client_id"]}), "invalid_request", "token")
    refusal(await fakts.http.post("/o/revoke/", data={"token": "x"}), "invalid_client")


async def test_a_revoked_app_is_out_everywhere_and_what_was_said_of_it_goes(fakts: RunningFakts) -> None:
    app = await logged_in(fakts, identifier="org.example.revoked")
    for _ in range(2):
        await fakts.ask("DELETE", f"/admin/v1/apps/{app['client_id']}", 204)
    await is_refused_everywhere(fakts, app)
    refusal(await refreshed(fakts, app), "invalid_client", "revoked")
    listed = (await fakts.ask("GET", "/admin/v1/apps?q=org.example.revoked", 200))["items"]
    assert [one["state"] for one in listed] == ["revoked"]
    key = f"ended:{app['client_id']}"

    async def said() -> Any:
        async with fakts.context.database.transaction() as session:
            return await session.scalar(select(FeedEntry.body).where(FeedEntry.key == key))

    assert await said()
    await loops.forget(fakts.context)
    assert await said()
    past = {"until": (db.now() - timedelta(seconds=1)).isoformat()}
    await change(fakts, update(FeedEntry).where(FeedEntry.key == key).values(body=past))
    await loops.forget(fakts.context)
    assert await said() is None


async def test_what_was_revoked_stays_so_when_tokens_are_to_be_shorter(
    fakts_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("shorter")
    async with running(settings_for(fakts_url, directory, access_token_seconds=86_400)) as before:
        app = await logged_in(before)
    async with running(settings_for(fakts_url, directory, access_token_seconds=60)) as fakts:
        await fakts.http.post("/o/revoke/", data={"token": app["refresh_token"], "client_id": app["client_id"]})
        said = claims_of(app["access_token"])
        async with fakts.context.database.transaction() as session:
            body = await session.scalar(select(FeedEntry.body).where(FeedEntry.key == f"ended:{said['sid']}"))
    assert body is not None
    assert Ended.model_validate(body).until.timestamp() > said["exp"]


async def test_who_leaves_takes_the_apps_along(fakts: RunningFakts) -> None:
    await fakts.user("gone")
    await fakts.ask("PATCH", "/admin/v1/users/gone", 200, json={"staff": True})
    key = (await fakts.ask("POST", "/admin/v1/keys", 201, json={"owner": "gone", "label": "k", "admin": True}))["key"]
    await fakts.ask("PUT", "/v1/organizations/lab/members/gone", 201)
    own = bearer(key)
    started = [await start(fakts), await start(fakts)]
    for one, organization in zip(started, ("lab", None), strict=True):
        path = f"/admin/v1/codes/{one['user_code']}/approve"
        await fakts.ask("POST", path, 200, json={"organization": organization}, headers=own)
    in_lab, alone = [(await poll(fakts, one)).json() for one in started]
    assert claims_of(in_lab["access_token"])["roles"] == ["member"]
    await fakts.ask("DELETE", "/v1/organizations/lab/members/gone", 204)
    refusal(await refreshed(fakts, in_lab), "invalid_grant", "organization")
    alone = (await refreshed(fakts, alone)).json()
    await fakts.ask("DELETE", "/v1/users/gone", 204)
    refusal(await refreshed(fakts, alone), "invalid_grant", "not active")
    await is_refused_everywhere(fakts, alone)
