"""Clients with secrets: relying parties that administrators register, apps of protocol 1, redeem tokens; and what all
clients may ask: introspection, the documents, requests from other origins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from libs.common import db
from libs.common.forwarded import ADDRESSES, CODE, code
from services.fakts.models import Client
from services.fakts.oauth import clients, logins
from services.fakts.oauth.headless import REDEEM_GRANT
from services.fakts.preflight import approvals
from tests.service.fakts.logging_in import (
    basic,
    bearer,
    claims_of,
    logged_in,
    poll,
    refreshed,
    refusal,
    relying_party,
    start,
)
from tests.service.fakts.running import JOIN_TOKEN, RunningFakts, shared
from tests.support.eventually import eventually
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), starts_per_minute=1000) as started:
        yield started


async def own_token(fakts: RunningFakts, client_id: str, secret: str, **form: str) -> httpx.Response:
    """Both authentications at once, as protocol 1 does."""
    body = {"grant_type": "client_credentials", "client_secret": secret, **form}
    return await fakts.http.post("/o/token/", data=body, headers=basic(client_id, secret))


async def test_relying_parties_are_registered_listed_and_removed(fakts: RunningFakts) -> None:
    made = await relying_party(fakts, client_credentials=True, scopes=["openid", "algo:call", "openid"])
    secret = made.pop("client_secret")
    assert len(secret) > 40
    assert (made["name"], made["scopes"], made["confidential"]) == ("Notebook", ["openid", "algo:call"], True)
    assert await fakts.ask("GET", f"/admin/v1/clients/{made['client_id']}", 200) == made
    listed = await fakts.ask("GET", "/admin/v1/clients", 200)
    assert made in listed["items"]
    assert secret not in json.dumps(listed)
    assert (await relying_party(fakts, confidential=False))["client_secret"] is None
    body = (await own_token(fakts, made["client_id"], secret, scope="algo:call")).json()
    for _ in range(2):
        await fakts.ask("DELETE", f"/admin/v1/clients/{made['client_id']}", 204)
    await fakts.ask("GET", f"/admin/v1/clients/{made['client_id']}", 404)
    refusal(await own_token(fakts, made["client_id"], secret), "invalid_client", status=401)
    assert claims_of(body["access_token"])["sub"] == made["client_id"]
    for bad in (
        {"name": ""},
        {"name": "constellation.fakts"},
        {"redirect_uris": ["http://rp.example/cb"]},
        {"redirect_uris": ["https://rp.example/cb#x"]},
        {"redirect_uris": ["https://u@rp.example/cb"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["/cb"]},
        {"redirect_uris": ["https://[rp.example/cb"]},
        {"scopes": ["service"]},
        {"scopes": ["two words"]},
        {"confidential": False, "client_credentials": True},
    ):
        await fakts.ask("POST", "/admin/v1/clients", 400, json={"name": "n", "redirect_uris": [], **bad})
    for good in ("http://localhost:5000/cb", "http://[::1]/cb", "com.example.app:/cb"):
        await relying_party(fakts, redirect_uris=[good])


async def test_a_client_authenticates_in_each_way_that_is_told_and_never_by_halves(fakts: RunningFakts) -> None:
    party = await relying_party(fakts, client_credentials=True, scopes=["openid", "a", "b"])
    client, secret = party["client_id"], party["client_secret"]
    grant = {"grant_type": "client_credentials"}
    for scope, given in (("", "openid a b"), ("b a", "b a")):
        for form, headers in (
            ({}, basic(client, secret)),
            ({"client_id": client, "client_secret": secret}, {}),
            ({"client_id": client, "client_secret": secret}, basic(client, secret)),
        ):
            for path in ("/o/token/", "/o/token"):
                answer = await fakts.http.post(path, data={**grant, "scope": scope, **form}, headers=headers)
                assert (answer.status_code, answer.json()["scope"]) == (200, given), answer.text
                assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope", "client_id"}
    wrong = [
        ({}, basic(client, "wrong"), 401),
        ({}, basic(str(uuid4()), secret), 401),
        ({"client_secret": "wrong"}, basic(client, secret), 401),
        ({"client_id": str(uuid4())}, basic(client, secret), 401),
        ({"client_id": client, "client_secret": "wrong"}, {}, 400),
        ({"client_id": client}, {}, 400),
        ({"client_id": "\x00"}, {}, 400),
        ({}, {"authorization": "Basic !"}, 401),
        ({}, {"authorization": "Basic //46/w=="}, 401),
        ({}, {}, 400),
    ]
    for form, headers, status in wrong:
        answer = await fakts.http.post("/o/token/", data={**grant, **form}, headers=headers)
        refusal(answer, "invalid_client", status=status)
        assert ("www-authenticate" in answer.headers) == (status == 401)
    refusal(await own_token(fakts, client, secret, scope="a c"), "invalid_scope", "openid a b")
    plain = await relying_party(fakts)
    refusal(await own_token(fakts, plain["client_id"], plain["client_secret"]), "unauthorized_client")


async def test_an_app_of_protocol_1_logs_in_as_the_person_who_let_it_in(fakts: RunningFakts) -> None:
    manifest = {"identifier": "org.example.old", "version": "1", "scopes": ["openid", "algo:call"]}
    code = (await fakts.http.post("/lok/f/start/", json={"manifest": manifest})).json()["code"]
    await fakts.ask("POST", f"/admin/v1/codes/{code}/approve", 200, json={})
    token = (await fakts.http.post("/lok/f/challenge/", json={"code": code})).json()["token"]
    auth = (await fakts.http.post("/lok/f/claim/", json={"token": token, "secure": False})).json()["config"]["auth"]
    scope = " ".join(auth["scopes"])
    body = (await own_token(fakts, auth["client_id"], auth["client_secret"], scope=scope)).json()
    assert set(body["scope"].split()) == set(auth["scopes"])
    assert "refresh_token" not in body
    said = claims_of(body["access_token"])
    assert (said["preferred_username"], said["client_app"]) == ("admin", "org.example.old")
    await fakts.ask("GET", "/v1/users/admin", 200, headers=bearer(body["access_token"]))
    await fakts.ask("DELETE", f"/admin/v1/apps/{auth['client_id']}", 204)
    refusal(await own_token(fakts, auth["client_id"], auth["client_secret"]), "invalid_client", status=401)

    async def refused() -> bool:
        found = await fakts.http.get("/v1/users/admin", headers=bearer(body["access_token"]))
        return found.status_code == 401

    await eventually(refused, timeout=60)


async def test_a_redeem_token_lets_an_app_in_and_leaves_nothing_behind_when_it_does_not(fakts: RunningFakts) -> None:
    made = await fakts.ask("POST", "/admin/v1/redeem-tokens", 201, json={})

    async def redeem(token: str = made["token"], **manifest: Any) -> httpx.Response:
        document = {"identifier": "org.example.headless", "version": "1", **manifest}
        form = {"grant_type": "urn:fakts:grant-type:redeem", "redeem_token": token, "manifest": json.dumps(document)}
        return await fakts.http.post("/o/token/", data=form)

    lacking = [{"key": "x", "service": "org.example.absent"}]
    refusal(await redeem(requirements=lacking), "invalid_grant", "offers no org.example.absent")
    first = (await redeem()).json()
    assert {"refresh_token", "self", "instances", "statuses"} < set(first)
    again = (await redeem()).json()
    assert (again["client_id"], again["refresh_token"] != first["refresh_token"]) == (first["client_id"], True)
    assert (await refreshed(fakts, first)).status_code == 200
    assert claims_of(first["access_token"])["preferred_username"] == "admin"
    refusal(await redeem(version="2"), "invalid_grant", "as many apps")
    refusal(await redeem("made-up"), "invalid_grant")
    refusal(await redeem(""), "invalid_request", "redeem_token")
    silent = {"grant_type": "client_credentials", "client_id": first["client_id"]}
    refusal(await fakts.http.post("/o/token/", data=silent), "invalid_client")


async def test_the_device_grant_of_the_standard_is_for_registered_clients(fakts: RunningFakts) -> None:
    party = await relying_party(fakts, confidential=False, redirect_uris=[])
    form = {"client_id": party["client_id"], "scope": "openid profile"}
    started = (await fakts.http.post("/o/app-authorization/", data=form)).json()
    assert {"device_code", "user_code", "verification_uri", "expires_in", "interval"} < set(started)
    await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 200, json={})
    body = (await poll(fakts, {**started, **form})).json()
    assert (body["scope"], claims_of(body["access_token"])["preferred_username"]) == ("openid profile", "admin")
    assert "instances" not in body
    assert "id_token" not in body
    known = await fakts.ask("GET", "/o/userinfo/", 200, headers=bearer(body["access_token"]))
    assert (known["preferred_username"], known["roles"]) == ("admin", [])
    refusal(await fakts.http.post("/o/app-authorization/", data={**form, "scope": "admin"}), "invalid_scope")
    refusal(await fakts.http.post("/o/app-authorization/", data={"client_id": str(uuid4())}), "invalid_client")
    app = await start(fakts)
    refusal(await fakts.http.post("/o/app-authorization/", data={"client_id": app["client_id"]}), "invalid_client")


async def test_who_has_a_secret_or_is_a_service_may_ask_what_a_token_is_good_for(fakts: RunningFakts) -> None:
    app = await logged_in(fakts)
    party = await relying_party(fakts)
    asking = basic(party["client_id"], party["client_secret"])
    _, service = await fakts.join("registry")

    async def ask(token: str, headers: dict[str, str]) -> dict[str, Any]:
        answer = await fakts.http.post("/o/introspect/", data={"token": token}, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    for headers in (asking, service):
        found = await ask(app["access_token"], headers)
        assert (found["active"], found["username"], found["client_id"]) == (True, "admin", app["client_id"])
        assert found["exp"] == claims_of(app["access_token"])["exp"]
        refresh = await ask(app["refresh_token"], headers)
        assert (refresh["active"], refresh["scope"], refresh["sub"]) == (True, app["scope"], found["sub"])
        assert await ask("unknown", headers) == {"active": False}
        assert await ask(f"{app['access_token'][:-4]}AAAA", headers) == {"active": False}
    public = {"token": app["access_token"], "client_id": app["client_id"]}
    refusal(await fakts.http.post("/o/introspect/", data=public), "invalid_client")
    refusal(
        await fakts.http.post("/o/introspect/", data=public, headers=bearer("a.b.c")), "invalid_client", status=401
    )
    refusal(await fakts.http.post("/o/introspect/", headers=asking, data={"x": "y"}), "invalid_request", "token")
    await fakts.http.post("/o/revoke/", data={"token": app["refresh_token"], "client_id": app["client_id"]})
    for token in (app["access_token"], app["refresh_token"]):
        assert await ask(token, asking) == {"active": False}


async def test_a_revoked_mandate_ends_the_tokens_that_it_gave_and_the_service_may_come_back(
    fakts: RunningFakts,
) -> None:
    mandate = await fakts.mandate(kind="service", identifiers=["constellation.worker"])
    device = str(uuid4())
    headers = bearer(
        (await fakts.login(mandate["key"], "constellation.worker", device_id=device)).json()["access_token"]
    )
    await fakts.ask("GET", "/internal/feeds/identity", 200, headers=headers)
    await fakts.ask("DELETE", f"/admin/v1/mandates/{mandate['id']}", 204)

    async def refused() -> bool:
        return (await fakts.http.get("/internal/feeds/identity", headers=headers)).status_code == 401

    await eventually(refused, timeout=60)
    back = (await fakts.login(JOIN_TOKEN, "constellation.worker", device_id=device)).json()
    assert back["client_id"] == device
    await fakts.ask("GET", "/internal/feeds/identity", 200, headers=bearer(back["access_token"]))


async def test_clients_that_cannot_log_in_any_more_are_forgotten(fakts: RunningFakts) -> None:
    by_person = (await logged_in(fakts))["client_id"]
    rule = {"name": "known", "strategy": "approve", "account": "admin", "when": {"identifier": "org.example.app"}}
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": [rule]})
    never_came = (await start(fakts))["client_id"]
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": []})
    party = (await relying_party(fakts))["client_id"]
    removed = (await relying_party(fakts))["client_id"]
    await fakts.ask("DELETE", f"/admin/v1/clients/{removed}", 204)
    redeem_token = (await fakts.ask("POST", "/admin/v1/redeem-tokens", 201))["token"]
    app = {"identifier": "org.example.app", "version": "1", "scopes": []}
    form = {"grant_type": REDEEM_GRANT, "redeem_token": redeem_token, "manifest": json.dumps(app)}
    redeemed = (await fakts.http.post("/o/token/", data=form)).json()["client_id"]
    await fakts.ask("DELETE", f"/admin/v1/apps/{redeemed}", 204)
    key = (await fakts.mandate())["key"]
    headless = (await fakts.login(key, "org.example.app")).json()["client_id"]
    ours = {UUID(one): one for one in (by_person, never_came, party, removed, redeemed, headless)}

    async def remembered(after: timedelta) -> set[str]:
        async with fakts.context.database.transaction() as session:
            later = db.now() + after
            await approvals.purge(session, later)
            await logins.purge(session, later)
            await clients.purge(session, later)
            found = (await session.scalars(select(Client.id).where(Client.id.in_(ours)))).all()
            await session.rollback()
        return {ours[one] for one in found}

    assert await remembered(timedelta()) == set(ours.values())
    assert await remembered(timedelta(days=1)) == set(ours.values()) - {never_came}
    assert await remembered(timedelta(days=31)) == {by_person, party, redeemed, headless}
    assert await remembered(timedelta(days=365)) == {party, redeemed, headless}


async def test_web_apps_may_ask_from_any_origin_where_apps_ask_and_nowhere_else(fakts: RunningFakts) -> None:
    origin = {"origin": "https://app.example"}
    preflight = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for path in ("/o/token/", "/o/userinfo/", "/o/revoke/", "/lok/f/report/", "/o/app-authorization/"):
        answer = await fakts.http.options(path, headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*"), path
        assert "access-control-allow-credentials" not in answer.headers
    for path in ("/.well-known/fakts", "/.well-known/openid-configuration", "/o/jwks/"):
        assert (await fakts.http.get(path, headers=origin)).headers["access-control-allow-origin"] == "*"
    for path in ("/admin/v1/users", "/o/authorize/", "/o/introspect/", "/v1/users/admin", "/apps"):
        assert "access-control-allow-origin" not in (await fakts.http.get(path, headers=origin)).headers, path


async def test_only_a_gateway_says_for_which_address_it_asks(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {"trusted_proxies": "", "token_requests_per_minute": 1}
    async with shared(postgres, tmp_path_factory.mktemp("addresses"), **settings) as fakts:

        async def status(address: str, secret: str | None) -> int:
            said = [(ADDRESSES, address.encode())]
            shown = [] if secret is None else [(CODE, code(secret, said))]
            form = {"grant_type": "x"}
            return (await fakts.http.post("/o/token/", data=form, headers=[*said, *shown])).status_code

        secret = fakts.context.master.edge_secret
        assert [await status("192.0.2.7", secret) for _ in range(2)] == [400, 429]
        assert await status("192.0.2.8", secret) == 400
        assert [await status(f"192.0.2.{last}", None) for last in (9, 10)] == [400, 429]
        assert await status("192.0.2.11", "guessed") == 429


async def test_one_address_may_ask_for_tokens_so_often(fakts: RunningFakts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakts.context.token_requests, "_allowed", 1)
    await fakts.http.post("/o/token/", data={"grant_type": "x"}, headers={"x-forwarded-for": "192.0.2.7"})
    answer = await fakts.http.post("/o/token/", data={"grant_type": "x"}, headers={"x-forwarded-for": "192.0.2.7"})
    refusal(answer, "slow_down", "try again", status=429)
    assert int(answer.headers["retry-after"]) >= 1
    other = await fakts.http.post("/o/token/", data={"grant_type": "x"}, headers={"x-forwarded-for": "192.0.2.8"})
    refusal(other, "unsupported_grant_type")


async def test_one_address_may_revoke_so_often_and_introspect_in_vain(
    fakts: RunningFakts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakts.context.token_requests, "_allowed", 1)
    there = {"x-forwarded-for": "192.0.2.9"}
    party = await relying_party(fakts)
    known = there | basic(party["client_id"], party["client_secret"])
    unknown = there | basic(party["client_id"], "wrong")
    for _ in range(3):
        await fakts.ask("POST", "/o/introspect/", 200, data={"token": "x"}, headers=known)
    for path in ("/o/introspect/", "/o/revoke/"):
        answer = await fakts.http.post(path, data={"token": "x"}, headers=unknown)
        refusal(answer, "invalid_client", status=401)
        for headers in (unknown, known):
            refusal(await fakts.http.post(path, data={"token": "x"}, headers=headers), "slow_down", status=429)
