"""The console as a client: it acts for whoever is signed in, on this origin, for as long as they are."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet

from services.fakts.oauth import console
from tests.service.fakts.browser import Browser
from tests.service.fakts.running import ORIGIN, RunningFakts, shared
from tests.support.eventually import UNASKED, eventually
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
RETURN = f"{ORIGIN}/console/signed-in"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), token_requests_per_minute=100_000) as started:
        for name in ("jane", "anne"):
            await started.user(name)
            await started.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
        await started.ask("PATCH", "/admin/v1/users/anne", 200, json={"staff": True})
        yield started


def path(**more: str) -> str:
    asked = {
        "response_type": "code",
        "client_id": str(console.CLIENT_ID),
        "redirect_uri": RETURN,
        "scope": "openid profile admin",
        "state": "s",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "prompt": "none",
    }
    return f"/o/authorize/?{urlencode(asked | more)}"


def back(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 302, answer.text
    url = urlsplit(answer.headers["location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == RETURN
    return dict(parse_qsl(url.query))


async def entered(fakts: RunningFakts, browser: Browser) -> dict[str, str]:
    """The answer of the token endpoint for who is signed in."""
    form = {
        "grant_type": "authorization_code",
        "code": back(await browser.get(path()))["code"],
        "redirect_uri": RETURN,
        "client_id": str(console.CLIENT_ID),
        "code_verifier": VERIFIER,
    }
    answer = await fakts.http.post("/o/token/", data=form)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


async def signed_in(fakts: RunningFakts, name: str) -> Browser:
    browser = Browser(fakts)
    await browser.sign_in(name, PASSWORD)
    return browser


async def administers(fakts: RunningFakts, token: str) -> int:
    answer = await fakts.http.get("/admin/v1/users", headers={"authorization": f"Bearer {token}"})
    return answer.status_code


async def test_nobody_is_asked_and_the_token_is_the_persons(fakts: RunningFakts) -> None:
    browser = Browser(fakts)
    assert back(await browser.get(path()))["error"] == "login_required"
    await browser.sign_in("anne", PASSWORD)
    answer = await entered(fakts, browser)
    assert "refresh_token" not in answer
    assert "instances" not in answer
    keys = KeySet.import_key_set((await fakts.http.get("/o/jwks/")).json())
    said = jwt.decode(answer["id_token"], keys, algorithms=["RS256"]).claims
    assert (said["preferred_username"], said["roles"]) == ("anne", ["admin"])
    assert await administers(fakts, answer["access_token"]) == 200
    other = await entered(fakts, await signed_in(fakts, "jane"))
    assert jwt.decode(other["id_token"], keys, algorithms=["RS256"]).claims["roles"] == []
    assert await administers(fakts, other["access_token"]) == 403


async def test_codes_go_to_the_origin_that_was_asked_and_nowhere_else(fakts: RunningFakts) -> None:
    browser = await signed_in(fakts, "anne")
    for elsewhere in (
        "https://evil.example/console/signed-in",
        f"{ORIGIN}/apps",
        "http://fakts.test/console/signed-in",
    ):
        answer = await browser.get(path(redirect_uri=elsewhere))
        assert answer.status_code == 400, elsewhere
        assert "location" not in answer.headers
    form = {"client_id": str(console.CLIENT_ID), "scope": "admin"}
    device = await fakts.http.post("/o/app-authorization/", data=form)
    assert device.status_code in (400, 401), "the console is let in by no code"


async def test_it_needs_no_approval_so_rules_and_lists_of_apps_know_nothing_of_it(fakts: RunningFakts) -> None:
    refuse = [{"name": "nobody", "strategy": "refuse", "when": {}, "reason": "no"}]
    before = await fakts.ask("GET", "/admin/v1/rules", 200)
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": refuse})
    try:
        browser = await signed_in(fakts, "anne")
        await entered(fakts, browser)
    finally:
        await fakts.ask("PUT", "/admin/v1/rules", 200, json=before)
    await browser.get("/apps")
    assert "constellation.console" not in browser.page
    for listed in ("apps", "clients"):
        assert str(console.CLIENT_ID) not in str(await fakts.ask("GET", f"/admin/v1/{listed}", 200))
    await fakts.ask("DELETE", f"/admin/v1/clients/{console.CLIENT_ID}", 204)
    await fakts.ask("DELETE", f"/admin/v1/apps/{console.CLIENT_ID}", 204)
    await entered(fakts, browser)


async def test_signing_out_ends_it_everywhere(fakts: RunningFakts) -> None:
    browser = await signed_in(fakts, "anne")
    token = (await entered(fakts, browser))["access_token"]
    asked = await browser.get("/signout")
    assert (asked.status_code, "Sign out?" in browser.page) == (200, True)
    assert (await browser.post("/signout")).status_code == 303
    assert back(await browser.get(path()))["error"] == "login_required"
    assert (await browser.get("/signout")).headers["location"] == "/signin"

    async def refused() -> bool:
        return await administers(fakts, token) == 401

    await eventually(refused, UNASKED)


async def test_a_browser_that_is_ended_from_another_loses_its_console(fakts: RunningFakts) -> None:
    lost, kept = await signed_in(fakts, "anne"), await signed_in(fakts, "anne")
    token = (await entered(fakts, lost))["access_token"]
    await kept.get("/apps")
    await kept.post("/apps/browsers/end-others")

    async def refused() -> bool:
        return await administers(fakts, token) == 401

    await eventually(refused, UNASKED)
    assert back(await lost.get(path()))["error"] == "login_required"
    assert await administers(fakts, (await entered(fakts, kept))["access_token"]) == 200
