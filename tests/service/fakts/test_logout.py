"""Signing out from an application (OpenID Connect RP-Initiated Logout 1.0), as browsers see it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.service.fakts.browser import Browser
from tests.service.fakts.logging_in import basic, relying_party
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
CALLBACK = "https://rp.example/cb"
BYE = "https://rp.example/bye?from=fakts"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts"), starts_per_minute=1000) as started:
        for name in ("jane", "joe"):
            await started.user(name)
            await started.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
        yield started


async def party(fakts: RunningFakts, **more: Any) -> dict[str, Any]:
    return await relying_party(fakts, redirect_uris=[CALLBACK], post_logout_redirect_uris=[BYE], **more)


async def signed_in(fakts: RunningFakts, app: dict[str, Any], name: str = "jane") -> tuple[Browser, str]:
    """A browser in which somebody has just signed in to an app, and the app's id token."""
    browser = Browser(fakts)
    await browser.sign_in(name, PASSWORD)
    asked = {"response_type": "code", "client_id": app["client_id"], "redirect_uri": CALLBACK, "scope": "openid"}
    page = (await browser.get(f"/o/authorize/?{urlencode(asked)}")).headers["location"]
    await browser.get(page)
    back = (await browser.post(page, decision="approve")).headers["location"]
    form = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(back).query)["code"][0],
        "redirect_uri": CALLBACK,
    }
    headers = basic(app["client_id"], app["client_secret"])
    answer = await fakts.http.post("/o/token/", data=form, headers=headers)
    return browser, answer.json()["id_token"]


def logout(**parameters: str) -> str:
    return f"/o/logout/?{urlencode(parameters)}"


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.get("/apps")).status_code == 200


async def test_with_the_id_token_of_this_session_nobody_is_asked(fakts: RunningFakts) -> None:
    app = await party(fakts)
    browser, token = await signed_in(fakts, app)
    answer = await browser.get(logout(id_token_hint=token, post_logout_redirect_uri=BYE, state="a b"))
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{BYE}&state=a+b"
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert not await is_signed_in(browser)
    again = await browser.get(logout(id_token_hint=token, post_logout_redirect_uri=BYE))
    assert again.headers["location"] == BYE, "whoever is signed out already goes back as well"


async def test_a_form_of_the_app_does_the_same(fakts: RunningFakts) -> None:
    """Browsers send it without cookies, which are for requests of our own pages."""
    app = await party(fakts)
    browser, token = await signed_in(fakts, app)
    form = {"id_token_hint": token, "client_id": app["client_id"], "post_logout_redirect_uri": BYE}
    answer = await fakts.http.post("/o/logout/", data=form)
    assert answer.status_code == 303
    assert (await browser.get(answer.headers["location"])).headers["location"] == BYE
    assert not await is_signed_in(browser)


@pytest.mark.parametrize("shown", ["none", "of another session", "of another person", "forged"])
async def test_without_such_a_token_the_person_decides(fakts: RunningFakts, shown: str) -> None:
    app = await party(fakts)
    browser, token = await signed_in(fakts, app)
    if shown == "of another session":
        await browser.http.aclose()
        browser, _ = await signed_in(fakts, app, "joe")
        await browser.sign_in("jane", PASSWORD)
    elif shown == "of another person":
        _, token = await signed_in(fakts, app, "joe")
    elif shown == "forged":
        token = f"{token[:-8]}AAAAAAAA"
    hint = {} if shown == "none" else {"id_token_hint": token}
    url = logout(client_id=app["client_id"], post_logout_redirect_uri=BYE, state="s", **hint)
    answer = await browser.get(url)
    assert answer.status_code == 200
    assert "Notebook asks you to sign out" in browser.page
    assert "form-action 'self' https://rp.example" in answer.headers["content-security-policy"]
    assert token not in browser.page
    fields = dict(re.findall(r'name="(client_id|post_logout_redirect_uri|state)" value="([^"]*)"', browser.page))
    assert (await browser.post("/o/logout/confirm", form_token="0" * 64, **fields)).status_code == 403
    assert await is_signed_in(browser)
    await browser.get(url)
    answer = await browser.post("/o/logout/confirm", **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}&state=s")
    assert not await is_signed_in(browser)


async def test_nobody_is_sent_on_to_what_is_not_registered(fakts: RunningFakts) -> None:
    app, other = await party(fakts), await party(fakts)
    browser, token = await signed_in(fakts, app)
    elsewhere = {"post_logout_redirect_uri": "https://rp.example/bye"}
    for parameters, words in (
        ({"id_token_hint": token, **elsewhere}, "is no address that 'Notebook' registered"),
        ({"client_id": app["client_id"], "post_logout_redirect_uri": CALLBACK}, "is no address that"),
        ({"post_logout_redirect_uri": BYE}, "needs id_token_hint or client_id"),
        ({"client_id": str(uuid4()), "post_logout_redirect_uri": BYE}, "did not say which one it is"),
        ({"id_token_hint": token, "client_id": other["client_id"]}, "showed an id token of another app"),
    ):
        answer = await browser.get(logout(**parameters))
        assert answer.status_code == 400
        assert words in browser.page
        assert "location" not in answer.headers
    twice = f"{logout(id_token_hint=token)}&state=a&state=b"
    assert (await browser.get(twice)).status_code == 400
    await browser.get(logout())
    assert (await browser.post("/o/logout/confirm", client_id=app["client_id"], **elsewhere)).status_code == 400
    assert await is_signed_in(browser)
    await fakts.ask("DELETE", f"/admin/v1/clients/{app['client_id']}", 204)
    answer = await browser.get(logout(id_token_hint=token, post_logout_redirect_uri=BYE))
    assert answer.status_code == 400, "nor to an app that was removed"


async def test_without_an_address_to_go_back_to_it_ends_here(fakts: RunningFakts) -> None:
    app = await party(fakts)
    browser, token = await signed_in(fakts, app)
    answer = await browser.get(logout(id_token_hint=token))
    assert (answer.status_code, "You are signed out" in browser.page) == (200, True)
    assert not await is_signed_in(browser)
    await browser.get(logout(client_id=app["client_id"], post_logout_redirect_uri=BYE))
    assert "Go back to Notebook" in browser.page, "who nobody vouches for is followed by a click only"


async def test_what_is_registered_is_checked_and_shown(fakts: RunningFakts) -> None:
    app = await party(fakts)
    assert app["post_logout_redirect_uris"] == [BYE]
    body = {"name": "Notebook", "post_logout_redirect_uris": ["http://rp.example/bye"]}
    assert "must be https" in (await fakts.ask("POST", "/admin/v1/clients", 400, json=body))["detail"]
