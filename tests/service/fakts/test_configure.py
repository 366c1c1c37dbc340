"""The page where a person decides on an app, without scripts; and the page of what they approved."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from sqlalchemy import update

from libs.common import db
from services.fakts.models import Approval
from tests.service.fakts.browser import Browser
from tests.service.fakts.running import RunningFakts, shared
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
PROBE, ABSENT = "org.example.probe", "org.example.absent"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    directory = tmp_path_factory.mktemp("fakts")
    async with shared(postgres, directory, starts_per_minute=1000, device_interval_seconds=1) as started:
        await started.ask(
            "POST",
            "/admin/v1/services",
            201,
            json={"service": PROBE, "instance": "p", "aliases": [{"id": "a", "host": "127.0.0.1"}]},
        )
        for name in ("jane", "anne", "guesser"):
            await started.user(name)
            await started.ask("PATCH", f"/admin/v1/users/{name}", 200, json={"password": PASSWORD})
        await started.organization("lab")
        await started.ask("PUT", "/v1/organizations/lab/members/jane", 201)
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def jane(fakts: RunningFakts) -> AsyncIterator[Browser]:
    """A browser in which Jane is signed in."""
    browser = Browser(fakts)
    await browser.sign_in("jane", PASSWORD)
    yield browser
    await browser.http.aclose()


async def start(fakts: RunningFakts, *optional: str, required: str = PROBE, **manifest: Any) -> dict[str, Any]:
    needs: list[dict[str, Any]] = [{"key": "must", "service": required}]
    needs += [{"key": f"may{n}", "service": one, "optional": True} for n, one in enumerate(optional)]
    document = {"identifier": "org.example.app", "version": "1.0", "requirements": needs, **manifest}
    body: dict[str, Any] = await fakts.ask("POST", "/o/app-authorization/", 200, json={"manifest": document})
    return body


async def poll(fakts: RunningFakts, started: dict[str, Any]) -> dict[str, Any]:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": started["device_code"],
        "client_id": started["client_id"],
    }
    answer: dict[str, Any] = (await fakts.http.post("/o/token/", data=form)).json()
    return answer


def path(started: dict[str, Any]) -> str:
    return urlsplit(str(started["verification_uri_complete"])).path


async def rules(fakts: RunningFakts, *given: dict[str, Any]) -> None:
    await fakts.ask("PUT", "/admin/v1/rules", 200, json={"rules": list(given)})


async def test_a_person_sees_what_asks_declines_a_part_and_lets_it_in(fakts: RunningFakts, jane: Browser) -> None:
    started = await start(
        fakts,
        PROBE,
        ABSENT,
        scopes=["openid", "algo:call", "mikro:write"],
        description="<script>alert(1)</script>",
        author="Some One",
        logo="https://evil.example/tracker.png",
    )
    shown = await jane.get(path(started))
    assert shown.status_code == 200
    for words in ("org.<wbr>example.<wbr>app", "Version 1.0 by Some One", "Call algorithms as you", "mikro:write"):
        assert words in jane.page
    assert "&lt;script&gt;alert(1)" in shown.text
    assert "evil.example" not in shown.text
    assert "not offered here" in jane.page
    assert re.search(r'value="may0" checked', jane.page)
    assert re.search(r'value="may1" disabled', jane.page)
    decided = await jane.post(path(started), decision="approve", organization="lab")
    assert decided.status_code == 200
    assert "org.example.app was let in" in jane.page
    answer = await poll(fakts, started)
    assert answer["statuses"] == {"must": "granted", "may0": "denied", "may1": "unavailable"}
    assert answer["scope"] == "openid algo:call mikro:write"

    await jane.get("/apps")
    assert "for lab" in jane.page
    client = started["client_id"]
    assert (await jane.post(f"/apps/{client}/revoke")).headers["location"] == "/apps"
    await jane.get("/apps")
    assert client not in jane.page
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"], "client_id": client}
    assert (await fakts.http.post("/o/token/", data=form)).status_code == 400


async def test_nobody_revokes_the_apps_of_others(fakts: RunningFakts, jane: Browser) -> None:
    started = await start(fakts)
    await jane.get(path(started))
    await jane.post(path(started), decision="approve")
    await poll(fakts, started)
    anne = Browser(fakts)
    await anne.sign_in("anne", PASSWORD)
    await anne.get("/apps")
    assert started["client_id"] not in anne.page
    assert (await anne.post(f"/apps/{started['client_id']}/revoke")).status_code == 404
    await jane.get("/apps")
    assert started["client_id"] in jane.page


async def test_a_denied_app_is_told(fakts: RunningFakts, jane: Browser) -> None:
    started = await start(fakts)
    await jane.get("/configure")
    typed = await jane.post("/configure", code=f" {started['user_code'].lower().replace('-', ' ')} ")
    assert typed.status_code == 303
    assert (await jane.get(typed.headers["location"])).status_code == 200
    await jane.post(path(started), decision="deny")
    assert "was not let in" in jane.page
    assert (await poll(fakts, started))["error"] == "access_denied"


async def test_unknown_used_and_expired_codes_look_alike_and_guesses_are_limited(
    fakts: RunningFakts, jane: Browser
) -> None:
    guesser = Browser(fakts)
    await guesser.sign_in("guesser", PASSWORD)
    used, expired, open_one = await start(fakts), await start(fakts), await start(fakts)
    await guesser.get(path(used))
    await guesser.post(path(used), decision="deny")
    await guesser.get(path(expired))
    async with fakts.context.database.transaction() as session:
        past = db.now() - timedelta(seconds=1)
        waiting = update(Approval).where(Approval.client_id == expired["client_id"])
        await session.execute(waiting.values(expires_at=past))
    late = await guesser.post(path(expired), decision="approve")
    pages = {late.text}
    for code in (path(used), path(expired), "/configure/BCDF-GHJK", "/configure/%01%ff"):
        answer = await guesser.get(code)
        assert answer.status_code == 404
        pages.add(answer.text)
    assert len(pages) == 1
    assert "was used, or has expired" in guesser.page
    statuses = [(await guesser.post("/configure", code=f"BCDFGHJ{n}")).status_code for n in range(30)]
    assert statuses[0] == 404
    assert statuses[-1] == 429
    assert (await guesser.get(path(open_one))).status_code == 429
    assert (await jane.get(path(open_one))).status_code == 200


async def test_what_cannot_be_let_in_is_said(fakts: RunningFakts) -> None:
    anne = Browser(fakts)
    await anne.sign_in("anne", PASSWORD)
    for decision in ("approve", "deny"):
        missing = await start(fakts, required=ABSENT)
        await anne.get(path(missing))
        assert f"this deployment offers no {ABSENT}" in anne.page
        assert "Let it in" not in anne.page
        await anne.post(path(missing), decision=decision)
        assert f"was not let in. This deployment offers no {ABSENT}" in anne.page
        told = await poll(fakts, missing)
        assert (told["error"], told["error_description"]) == (
            "access_denied",
            f"This deployment offers no {ABSENT}.",
        )

    await rules(fakts, {"name": "lab", "strategy": "members", "organizations": ["lab"]})
    started = await start(fakts)
    await anne.get(path(started))
    assert "Only members of lab may approve this app." in anne.page
    assert (await anne.post(path(started), decision="approve")).status_code == 403
    await rules(fakts, {"name": "staff", "strategy": "staff"})
    started = await start(fakts)
    await anne.get(path(started))
    assert "Only an administrator may approve this app." in anne.page
    assert (await anne.post(path(started), decision="approve")).status_code == 403
    await rules(fakts)


async def test_older_apps_name_the_code_in_the_query(fakts: RunningFakts, jane: Browser) -> None:
    nobody = Browser(fakts)
    link = await nobody.get("/configure/?device_code=WDJB-MJHT&grant=device_code")
    assert link.headers["location"].startswith("/signin?next=/configure/%3Fdevice_code")
    answer = await jane.get("/configure/?device_code=WDJB-MJHT&grant=device_code")
    assert (answer.status_code, answer.headers["location"]) == (303, "/configure/WDJB-MJHT")


async def test_an_app_that_sent_the_browser_gets_it_back(fakts: RunningFakts) -> None:
    anne = Browser(fakts)
    back = "https://app.example/callback"
    client = await fakts.ask("POST", "/admin/v1/clients", 201, json={"name": "Wiki", "redirect_uris": [back]})
    query = f"?response_type=code&client_id={client['client_id']}&redirect_uri={back}&scope=openid&state=s1"
    query += "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
    for decision in ("deny", "approve"):
        at = await anne.get(f"/o/authorize/{query}")
        if decision == "deny":
            assert at.headers["location"].startswith("/signin?next=/o/authorize/")
            signing = await anne.get(at.headers["location"])
            assert "form-action" not in signing.headers["content-security-policy"]
            then = parse_qs(urlsplit(at.headers["location"]).query)["next"][0]
            signed_in = await anne.post("/signin", username="anne", password=PASSWORD, next=then)
            at = await anne.get(signed_in.headers["location"])
        page = urlsplit(at.headers["location"]).path
        shown = await anne.get(page)
        assert shown.headers["content-security-policy"].endswith("form-action 'self' https://app.example")
        assert back in anne.page
        answer = await anne.post(page, decision=decision)
        assert answer.status_code == 303
        said = parse_qs(urlsplit(answer.headers["location"]).query)
        assert answer.headers["location"].startswith(f"{back}?")
        assert said["state"] == ["s1"]
        assert ("code" in said) == (decision == "approve")
        assert said.get("error") == (["access_denied"] if decision == "deny" else None)
    # Many sign in to such an app: to revoke it ends this person's login alone.
    await anne.get("/apps")
    assert "Wiki" in anne.page
    await anne.post(f"/apps/{client['client_id']}/revoke")
    await anne.get("/apps")
    assert "Wiki" not in anne.page
    await fakts.ask("GET", f"/admin/v1/clients/{client['client_id']}", 200)
