"""Signing in with a password, in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import delete, select, text, update

from libs.common import db
from services.fakts import loops
from services.fakts.models import AuditEntry, BrowserSession
from tests.service.fakts.browser import Browser
from tests.service.fakts.running import RunningFakts, running, settings_for, shared
from tests.support.eventually import eventually
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    async with shared(postgres, tmp_path_factory.mktemp("fakts")) as started:
        for name in ("jane", "anne", "paul"):
            await started.user(name)
            await started.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
        yield started


async def test_a_person_signs_in_comes_back_to_the_page_and_signs_out(fakts: RunningFakts) -> None:
    browser = Browser(fakts)
    asked = await browser.get("/configure/WDJB-MJHT?x=1")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/signin?next=/configure/WDJB-MJHT%3Fx%3D1"
    shown = await browser.get(asked.headers["location"])
    assert shown.status_code == 200
    assert 'value="/configure/WDJB-MJHT?x=1"' in browser.page
    answer = await browser.post("/signin", username="jane", password=PASSWORD, next="/configure/WDJB-MJHT?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/configure/WDJB-MJHT?x=1")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("constellation_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie  # the origin is http
    assert (await browser.get("/signin?next=/configure")).headers["location"] == "/configure"
    assert (await browser.get("/apps")).status_code == 200
    assert "Signed in as <b>jane</b>" in browser.page
    assert "Firefox" in browser.page
    async with fakts.context.database.transaction() as session:
        acts = [entry.message for entry in await session.scalars(select(AuditEntry))]
    assert ("jane", "user.sign_in", "password") in [(act["actor"], act["action"], act["detail"]) for act in acts]
    value = browser.http.cookies["constellation_session"]
    assert (await browser.post("/signout")).headers["location"] == "/signin"
    assert "constellation_session" not in browser.http.cookies
    browser.http.cookies["constellation_session"] = value
    assert (await browser.get("/apps")).status_code == 303


async def test_signing_out_twice_at_once_is_signing_out(fakts: RunningFakts) -> None:
    """The second request found the session, and notes that it was seen, when the first has ended it."""
    browser = Browser(fakts)
    await browser.sign_in("jane", PASSWORD)
    await browser.get("/apps")
    async with fakts.context.database.transaction() as session:
        await session.execute(update(BrowserSession).values(seen_at=db.now() - timedelta(minutes=5)))
    async with fakts.context.database.transaction() as session:
        await session.execute(delete(BrowserSession))
        again = asyncio.create_task(browser.post("/signout"))

        async def waits() -> bool:
            return bool(await session.scalar(text(_WAITING)) == 1)

        await eventually(waits)
    answer = await again
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")


async def test_unknown_names_and_wrong_passwords_look_alike_and_are_limited(fakts: RunningFakts) -> None:
    pages = set()
    for name, password in (("jane", "wrong"), ("nobody", PASSWORD), ("a b\x00", PASSWORD), ("x" * 300, "")):
        browser = Browser(fakts)
        answer = await browser.sign_in(name, password)
        assert answer.status_code == 401
        assert "Wrong user name or password." in browser.page
        pages.add(answer.text.replace(name[:100], "NAME").split("form_token")[0])
        assert "constellation_session" not in browser.http.cookies
    assert len(pages) == 1
    answers = [(await browser.sign_in("anne", "wrong")).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    limited = await browser.sign_in("anne", PASSWORD)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert "Too many failed attempts" in browser.page


async def test_forms_that_our_page_did_not_make_for_this_browser_are_refused(fakts: RunningFakts) -> None:
    browser, other = Browser(fakts), Browser(fakts)
    await other.get("/signin")
    foreign = other.page.split('name="form_token" value="')[1][:64]
    for token in ("", "0" * 64, foreign):
        await browser.get("/signin")
        answer = await browser.post("/signin", username="jane", password=PASSWORD, form_token=token)
        assert answer.status_code == 403
        assert "load the page anew" in browser.page
    await browser.sign_in("jane", PASSWORD)
    for path in ("/signout", "/signin/password", "/configure", "/configure/X", "/apps/browsers/end-others"):
        assert (await browser.post(path, form_token=foreign)).status_code == 403, path
    assert (await browser.get("/apps")).status_code == 200
    nobody = await Browser(fakts).post("/configure/X", decision="approve")
    assert nobody.headers["location"] == "/signin?next=/apps"


async def test_only_own_paths_follow_a_sign_in(fakts: RunningFakts) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "apps"):
        answer = await Browser(fakts).sign_in("jane", PASSWORD, then=elsewhere)
        assert answer.headers["location"] == "/apps"


async def test_signing_in_again_and_a_new_password_end_sessions(fakts: RunningFakts) -> None:
    here, there = Browser(fakts), Browser(fakts)
    await here.sign_in("paul", PASSWORD)
    first = here.http.cookies["constellation_session"]
    await there.sign_in("paul", PASSWORD)
    await here.get("/signin/password")
    bad = {"too short": ("short", "short", PASSWORD), "differ": ("a new password", "another", PASSWORD)}
    bad["not your current"] = ("a new password", "a new password", "wrong")
    for _, (new, again, current) in bad.items():
        assert (await here.post("/signin/password", new=new, again=again, current=current)).status_code in (400, 401)
        assert 'role="alert"' in here.page
    changed = await here.post("/signin/password", new="a new password", again="a new password", current=PASSWORD)
    assert changed.status_code == 200
    assert "was changed" in here.page
    assert (await here.get("/apps")).status_code == 200
    assert (await there.get("/apps")).status_code == 303
    assert (await there.sign_in("paul", PASSWORD)).status_code == 401
    assert (await there.sign_in("paul", "a new password")).status_code == 303

    del here.http.cookies["constellation_visit"]
    again_in = Browser(fakts)
    again_in.http.cookies["constellation_session"] = first
    await again_in.get("/apps")
    assert "Sign out all others" in again_in.page
    await again_in.post("/apps/browsers/end-others")
    assert (await there.get("/apps")).status_code == 303
    # An administrator's new password ends all.
    await fakts.ask("PATCH", "/admin/v1/users/paul", 200, json={"password": PASSWORD})
    assert (await again_in.get("/apps")).status_code == 303
    # A deactivated user is nobody.
    await again_in.sign_in("paul", PASSWORD)
    assert (await again_in.get("/apps")).status_code == 200
    await fakts.ask("DELETE", "/v1/users/paul", 204)
    assert (await again_in.get("/apps")).status_code == 303


async def test_sessions_end_by_themselves_and_are_kept_as_digests(fakts: RunningFakts) -> None:
    browser = Browser(fakts)
    await browser.sign_in("jane", PASSWORD)
    cookie = browser.http.cookies["constellation_session"]
    async with fakts.context.database.transaction() as session:
        rows = (await session.scalars(select(BrowserSession))).all()
        assert cookie not in str([vars(row) for row in rows])
        for row in rows:
            row.expires_at = db.now() - timedelta(seconds=1)
    assert (await browser.get("/apps")).status_code == 303
    await loops.forget(fakts.context)
    async with fakts.context.database.transaction() as session:
        assert (await session.scalars(select(BrowserSession))).all() == []


async def test_pages_keep_to_themselves(fakts: RunningFakts) -> None:
    browser = Browser(fakts)
    for path, status in (("/signin", 200), ("/configure/static/none.css", 404), ("/signin/none/such", 404)):
        answer = await browser.get(path)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "<style" not in browser.page
        assert " style=" not in browser.page
        assert "onclick" not in browser.page
    await browser.get("/signin")
    for path in browser.page.split('"'):
        if path.startswith("/configure/static/"):
            found = await browser.http.get(path)
            assert found.status_code == 200
            assert "immutable" in found.headers["cache-control"]
    large = await browser.post("/signin", username="x" * 300_000)
    assert large.status_code == 413
    assert large.headers["content-type"].startswith("text/html")


async def test_behind_tls_cookies_are_secure_and_this_hosts_alone(
    postgres: Postgres, fakts_url: str, fakts: RunningFakts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_for(fakts_url, tmp_path_factory.mktemp("tls"), public_url="https://lab.example")
    async with running(settings) as behind_tls:
        browser = Browser(behind_tls, origin="https://lab.example")
        answer = await browser.sign_in("admin", behind_tls.credentials["password"])
        assert answer.headers["set-cookie"].startswith("__Host-constellation_session=")
        assert "Secure" in answer.headers["set-cookie"]
        assert (await browser.get("/apps")).status_code == 200
