"""Signing in to a relying party: the authorization endpoint, codes with PKCE, id tokens and userinfo."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import update

from libs.common import db
from libs.common.directory import key_hash
from services.fakts.models import AuthorizationCode, BrowserSession
from services.fakts.preflight.strategies.approve import ApproveAtOnce
from services.fakts.preflight.strategies.interface import Approve
from tests.service.fakts.browser import Browser
from tests.service.fakts.logging_in import bearer, refreshed, refusal, relying_party
from tests.service.fakts.running import ORIGIN, RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
CALLBACK = "https://rp.example/cb"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    many: dict[str, Any] = {"token_requests_per_minute": 100_000, "starts_per_minute": 1000}
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), **many) as started:
        for name in ("jane", "paul"):
            await started.user(name)
            await started.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
        await started.organization("lab")
        await started.ask("PUT", "/v1/organizations/lab/members/jane", 201, json={"role": "executor"})
        yield started


class Site:
    """A public client, and a browser that it sends to the authorization endpoint."""

    def __init__(self, fakts: RunningFakts, client: dict[str, Any]) -> None:
        self.fakts = fakts
        self.client = client
        self.browser = Browser(fakts)

    def path(self, **more: str | None) -> str:
        asked = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "redirect_uri": CALLBACK,
            "scope": "openid profile email",
            "state": "s t&a=te",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **more,
        }
        return f"/o/authorize/?{urlencode({name: value for name, value in asked.items() if value is not None})}"

    async def ask(self, **more: str | None) -> httpx.Response:
        return await self.browser.get(self.path(**more))

    async def sign_in(self, name: str = "jane") -> None:
        await self.browser.sign_in(name, PASSWORD)

    async def code(self, **more: str | None) -> str:
        """Through all pages that come, to a code."""
        answer = await self.ask(**more)
        if answer.headers["location"].startswith("/configure/"):
            page = answer.headers["location"]
            await self.browser.get(page)
            answer = await self.browser.post(page, decision="approve", organization="lab")
        returned = back(answer)
        assert set(returned) == {"code", "state", "iss"}, returned
        return returned["code"]

    async def token(self, code: str, **more: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "client_id": self.client["client_id"],
            "code_verifier": VERIFIER,
            **more,
        }
        return await self.fakts.http.post("/o/token/", data=form)


def back(answer: httpx.Response) -> dict[str, str]:
    """What the browser takes back to the client."""
    assert answer.status_code in (302, 303), (answer.status_code, answer.text)
    url = urlsplit(answer.headers["location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == CALLBACK, answer.headers["location"]
    return dict(parse_qsl(url.query, strict_parsing=True))


@pytest_asyncio.fixture(loop_scope="module")
async def site(fakts: RunningFakts) -> Site:
    return Site(fakts, await relying_party(fakts, confidential=False))


async def test_a_person_signs_in_approves_once_and_the_site_learns_who_it_is(fakts: RunningFakts, site: Site) -> None:
    asked = await site.ask(login_hint="jane")
    assert asked.status_code == 302
    sign_in = asked.headers["location"]
    assert sign_in.startswith("/signin?next=/o/authorize/%3F")
    await site.browser.get(sign_in)
    assert 'value="jane"' in site.browser.page
    await site.sign_in()
    page = (await site.ask()).headers["location"]
    assert page.startswith("/configure/")
    shown = await site.browser.get(page)
    assert shown.status_code == 200
    assert "Notebook" in site.browser.page
    returned = back(await site.browser.post(page, decision="approve", organization="lab"))
    assert (returned["state"], returned["iss"]) == ("s t&a=te", ORIGIN)
    answer = await site.token(returned["code"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "client_id",
        "refresh_token",
        "id_token",
    }
    keys = KeySet.import_key_set((await fakts.http.get("/o/jwks/")).json())
    said = jwt.decode(body["id_token"], keys, algorithms=["RS256"]).claims
    jane = await fakts.ask("GET", "/v1/users/jane", 200)
    half = hashlib.sha256(body["access_token"].encode()).digest()[:16]
    assert (said["iss"], said["aud"], said["sub"], said["nonce"]) == (
        ORIGIN,
        site.client["client_id"],
        jane["id"],
        "n-1",
    )
    assert said["at_hash"] == urlsafe_b64encode(half).decode().rstrip("=")
    assert said["auth_time"] <= said["iat"] < said["exp"]
    known = {
        "sub": jane["id"],
        "preferred_username": "jane",
        "name": "jane",
        "email": "jane@example.org",
        "organizations": ["lab"],
        "roles": ["executor"],
    }
    assert {name: said[name] for name in known} == known
    for method in ("GET", "POST"):
        assert await fakts.ask(method, "/o/userinfo/", 200, headers=bearer(body["access_token"])) == known
    for path, status in (("/o/userinfo/", 401), ("/v1/users/jane", 401)):
        await fakts.ask("GET", path, status, headers=bearer(body["id_token"]))
    narrow = (await refreshed(fakts, body, scope="openid")).json()
    assert await fakts.ask("GET", "/o/userinfo/", 200, headers=bearer(narrow["access_token"])) == {"sub": jane["id"]}
    none = (await refreshed(fakts, body, scope="profile")).json()
    refused = await fakts.http.get("/o/userinfo/", headers=bearer(none["access_token"]))
    assert (refused.status_code, "insufficient_scope" in refused.headers["www-authenticate"]) == (403, True)
    assert "error" in (await fakts.http.get("/o/userinfo/")).headers["www-authenticate"]


async def test_an_earlier_approval_stands_while_that_login_lives(fakts: RunningFakts, site: Site) -> None:
    await site.sign_in()
    answers = [(await site.token(await site.code())).json()]
    again = back(await site.ask(scope="openid", nonce="n-2"))
    assert "code" in again
    silent = back(await site.ask(prompt="none"))
    assert (await site.ask(prompt="consent")).headers["location"].startswith("/configure/")
    assert (await site.ask(scope="openid offline_access")).headers["location"].startswith("/configure/")
    other = Site(fakts, await relying_party(fakts, confidential=False))
    other.browser = site.browser
    assert back(await other.ask(prompt="none"))["error"] == "consent_required"
    for code in (again["code"], silent["code"]):
        answers.append((await site.token(code)).json())
    for one in answers:
        form = {"token": one["refresh_token"], "client_id": site.client["client_id"]}
        assert (await fakts.http.post("/o/revoke/", data=form)).status_code == 200
    assert back(await site.ask(prompt="none"))["error"] == "consent_required"


async def test_prompt_and_max_age_ask_for_a_new_sign_in(fakts: RunningFakts, site: Site) -> None:
    assert back(await site.ask(prompt="none"))["error"] == "login_required"
    assert back(await site.ask(prompt="none login"))["error"] == "invalid_request"
    assert back(await site.ask(max_age="soon"))["error"] == "invalid_request"
    await site.sign_in()
    for wish in ({"prompt": "login"}, {"prompt": "login consent"}, {"prompt": "select_account"}, {"max_age": "0"}):
        asked = (await site.ask(**wish)).headers["location"]
        assert asked.startswith("/signin?next=/o/authorize/")
        assert "again=true" in asked
        assert (await site.browser.get(asked)).status_code == 200
        then = dict(parse_qsl(urlsplit(asked).query))["next"]
        assert ("prompt=consent" in then) == ("consent" in wish.get("prompt", ""))
        assert "max_age" not in then
        assert (await site.browser.get(then)).headers["location"].startswith("/configure/")
    assert (await site.ask(max_age="3600")).headers["location"].startswith("/configure/")
    async with fakts.context.database.transaction() as session:
        await session.execute(update(BrowserSession).values(created_at=db.now() - timedelta(hours=2)))
    assert "again=true" in (await site.ask(max_age="3600")).headers["location"]
    assert back(await site.ask(max_age="3600", prompt="none"))["error"] == "login_required"


async def test_a_code_that_comes_again_ends_the_login_that_it_opened(fakts: RunningFakts, site: Site) -> None:
    await site.sign_in()
    code = await site.code()
    answers = await asyncio.gather(*(site.token(code) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    first = next(answer.json() for answer in answers if answer.status_code == 200)
    refusal(await site.token(code), "invalid_grant", "used before")
    refusal(await refreshed(fakts, first), "invalid_grant", "ended")
    assert (await fakts.http.get("/o/userinfo/", headers=bearer(first["access_token"]))).status_code == 401


async def test_a_code_is_for_its_client_its_redirect_uri_its_verifier_and_a_short_time(
    fakts: RunningFakts, site: Site
) -> None:
    await site.sign_in()
    code = await site.code()
    other = Site(fakts, await relying_party(fakts, confidential=False))
    refusal(await other.token(code), "invalid_grant", "not known")
    refusal(await site.token(code, redirect_uri="https://rp.example/other"), "invalid_grant")
    refusal(await site.token(code, code_verifier="w" * 43), "invalid_grant")
    refusal(await site.token(code, code_verifier=""), "invalid_request")
    refusal(await site.token("made-up"), "invalid_grant")
    assert (await site.token(code)).status_code == 200
    late = await site.code()
    async with fakts.context.database.transaction() as session:
        was = AuthorizationCode.digest == key_hash(late)
        await session.execute(update(AuthorizationCode).where(was).values(expires_at=db.now()))
    refusal(await site.token(late), "invalid_grant", "expired")


async def test_a_redirect_uri_that_went_without_saying_need_not_be_said_for_the_token(site: Site) -> None:
    await site.sign_in()
    code = await site.code(redirect_uri=None)
    refusal(await site.token(code, redirect_uri="https://rp.example/other"), "invalid_grant", "redirect_uri")
    assert (await site.token(code, redirect_uri="")).status_code == 200
    again = await site.code(redirect_uri=None, prompt="none")
    assert (await site.token(again)).status_code == 200
    refusal(await site.token(await site.code(prompt="none"), redirect_uri=""), "invalid_grant", "redirect_uri")


async def test_a_person_who_declines_is_told_to_the_client(site: Site) -> None:
    await site.sign_in()
    page = (await site.ask()).headers["location"]
    await site.browser.get(page)
    returned = back(await site.browser.post(page, decision="deny"))
    assert (returned["error"], returned["state"], returned["iss"]) == ("access_denied", "s t&a=te", ORIGIN)


async def test_a_rule_never_signs_somebody_in_as_somebody_else(
    fakts: RunningFakts, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strategy that comes with the platform asks the person; one that others add might not."""
    monkeypatch.setattr(ApproveAtOnce, "decide", lambda strategy, _: Approve("jane"))
    rule = {"name": "r", "strategy": "approve", "account": "x"}
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": [rule]})
    try:
        assert (await site.ask()).headers["location"].startswith("/signin")
        await site.sign_in("paul")
        refused = back(await site.ask())
        assert (refused["error"], "another account" in refused["error_description"]) == ("access_denied", True)
        other = Site(fakts, site.client)
        await other.sign_in("jane")
        assert "code" in back(await other.ask())
        rule = {"name": "no", "strategy": "refuse", "reason": "Not here."}
        await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": [rule]})
        refused = back(await site.ask())
        assert (refused["error"], refused["error_description"]) == ("access_denied", "Not here.")
    finally:
        await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": []})


async def test_nobody_is_sent_where_the_client_did_not_register(fakts: RunningFakts, site: Site) -> None:
    gone = await relying_party(fakts, confidential=False)
    await fakts.ask("DELETE", f"/admin/v1/clients/{gone['client_id']}", 204)
    two = await relying_party(fakts, confidential=False, redirect_uris=[CALLBACK, "https://rp.example/two"])
    cases: list[dict[str, str | None]] = [
        {"client_id": "unknown"},
        {"client_id": None},
        {"client_id": gone["client_id"]},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": f"{CALLBACK}/"},
        {"redirect_uri": f"{CALLBACK}?x=1"},
        {"redirect_uri": 'https://evil.example/"é\\'},
        {"redirect_uri": "//evil.example"},
        {"redirect_uri": "https://rp.example\\@evil.example/cb"},
        {"client_id": two["client_id"], "redirect_uri": None},
        {"redirect_uri": "https://evil.example/cb", "response_type": "token"},
        {"redirect_uri": "https://evil.example/cb", "prompt": "none login"},
        {"state": "\x00"},
    ]
    for case in cases:
        answer = await site.ask(**case)
        assert answer.status_code == 400, (case, answer.headers)
        assert "location" not in answer.headers
        assert answer.headers["content-type"].startswith("text/html")
    doubled = await site.browser.get(f"{site.path()}&redirect_uri=https%3A%2F%2Fevil.example")
    assert (doubled.status_code, "location" in doubled.headers) == (400, False)
    assert "code" not in back(await site.ask(redirect_uri=None, prompt="none"))


async def test_what_else_is_wrong_goes_back_to_the_client(site: Site) -> None:
    cases: list[tuple[dict[str, str | None], str]] = [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": 'c"é'}, "unsupported_response_type"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"scope": "admin algo:call"}, "invalid_scope"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "https://rp.example/r"}, "request_uri_not_supported"),
    ]
    for case, error in cases:
        returned = back(await site.ask(**case))
        assert (returned["error"], returned["state"], returned["iss"]) == (error, "s t&a=te", ORIGIN), case
