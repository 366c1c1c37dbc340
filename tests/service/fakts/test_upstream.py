"""Signing in with an upstream OpenID Connect provider, a real one."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import pytest_asyncio

from services.fakts.identity import accounts
from services.fakts.models import Client, Login
from services.fakts.oauth import console, logins
from tests.service.fakts.browser import Browser
from tests.service.fakts.running import ORIGIN, RunningFakts, others_wait, shared
from tests.support.issuer import Issuer
from tests.support.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, openid_provider
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = f"""
[[provider]]
name = "university"
label = "The University"
discovery = "%s"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[[provider.admit]]
claim = "groups"
values = ["lab-*", "guests"]

[[provider.memberships]]
claim = "groups"
values = ["lab-*"]
organization = "lab"

[[provider.memberships]]
claim = "groups"
values = ["lab-heads"]
organization = "lab"
role = "owner"

[[provider.memberships]]
claim = "groups"
values = ["*"]
organization = "missing"

[[provider]]
name = "gone"
label = "Gone"
discovery = "http://127.0.0.1:9/.well-known/openid-configuration"
client_id = "x"

[[provider]]
name = "partner"
label = "Partner"
discovery = "%s/.well-known/openid-configuration"
client_id = "x"

[[provider]]
name = "tenant"
label = "Tenant"
discovery = "%s/.well-known/openid-configuration?tenant=1"
issuer = "https://tenant.example.org"
client_id = "x"
"""


@pytest.fixture(scope="module")
def university() -> Iterator[OpenIdProvider]:
    with openid_provider(f"{ORIGIN}/signin/with/university/callback") as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def partner() -> AsyncIterator[Issuer]:
    async with Issuer().serve() as started:
        started.metadata = {"authorization_endpoint": f"{started.url}/authorize"}
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(
    postgres: Postgres, university: OpenIdProvider, partner: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningFakts]:
    directory = tmp_path_factory.mktemp("fakts")
    file = directory / "providers.toml"
    file.write_text(FILE % (university.discovery, partner.url, partner.url))
    file.chmod(0o600)
    async with shared(postgres, directory, providers_file=file) as started:
        await started.organization("lab")
        yield started


async def come_back(browser: Browser, university: OpenIdProvider, then: str = "/apps") -> str:
    """Sign in with the university as whoever it signs in; returns the URL that leads back here."""
    begun = await browser.get(f"/signin/with/university?next={then}")
    assert begun.status_code == 302, begun.text
    asked = begun.headers["location"]
    for part in ("state=", "nonce=", "code_challenge=", "code_challenge_method=S256", "scope=openid"):
        assert part in asked
    return university.sign_in(asked)


def random_text(length: int) -> str:
    """Nothing makes it shorter."""
    return "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))


async def members(fakts: RunningFakts) -> dict[str, str]:
    found = await fakts.ask("GET", "/v1/organizations/lab/members", 200)
    return {one["username"]: one["role"] for one in found["results"]}


async def test_a_first_sign_in_makes_an_account_and_later_ones_find_it(
    fakts: RunningFakts, university: OpenIdProvider
) -> None:
    university.person(
        sub="1",
        preferred_username="j.doe",
        name="Jo Doe",
        email="jo@example.org",
        email_verified=True,
        groups=["lab-members"],
    )
    browser = Browser(fakts)
    await browser.get("/signin?next=/configure")
    assert "Sign in with The University" in browser.page
    back = await browser.get(await come_back(browser, university, "/configure"))
    assert (back.status_code, back.headers["location"]) == (303, "/configure")
    await browser.get("/signin?next=/configure&again=true")  # as an app may want it that has to be sure
    assert '/signin/with/university?next=/configure&again=true"' in browser.page
    asked = await browser.get("/signin/with/university?next=/configure&again=true")
    assert "prompt=login" in asked.headers["location"]
    await browser.get("/apps")
    assert "Signed in as <b>j_doe</b>" in browser.page
    assert "with The University" in browser.page
    assert "Set a password" in browser.page
    account = await fakts.ask("GET", "/v1/users/j_doe", 200)
    assert (account["email"], account["fullname"]) == ("jo@example.org", "Jo Doe")
    assert (await members(fakts))["j_doe"] == "member"

    # The same subject is the same account, whatever it is called by now; its groups say where it belongs.
    university.person(sub="1", preferred_username="married", groups=["lab-heads", "lab-members"])
    await Browser(fakts).get(await come_back(again := Browser(fakts), university))
    assert (await members(fakts))["j_doe"] == "member"  # another browser's journey, which is refused
    await again.get(await come_back(again, university))
    assert (await members(fakts))["j_doe"] == "owner"
    await again.get("/apps")
    assert "Signed in as <b>j_doe</b>" in again.page
    university.person(sub="1", groups=["guests"])
    await again.get(await come_back(again, university))
    assert "j_doe" not in await members(fakts)


async def test_a_sign_in_that_ends_another_does_not_hold_what_others_need_to_end_it(
    fakts: RunningFakts, university: OpenIdProvider
) -> None:
    context, browser = fakts.context, Browser(fakts)
    university.person(sub="former", preferred_username="again", groups=["guests"])
    await browser.get(await come_back(browser, university))
    async with context.database.transaction() as session:
        user = await accounts.get(session, "again")
        client = await session.get_one(Client, console.CLIENT_ID)
        login, _ = await logins.open_login(
            session, context, client, account=user, organization=None, scope="openid", refreshes=False
        )
    university.person(sub="former", groups=["lab-members"])
    back = await come_back(browser, university)
    async with context.database.transaction() as session:
        login = await session.get_one(Login, login.id, with_for_update=True)
        coming = asyncio.create_task(browser.get(back))
        await others_wait(session)
        await logins.end(session, context, login)
    assert (await coming).status_code == 303
    assert (await members(fakts))["again"] == "member"


async def test_the_way_on_fits_into_the_browsers_cookie_or_leads_to_the_persons_own_page(
    fakts: RunningFakts, university: OpenIdProvider
) -> None:
    university.person(sub="5", preferred_username="long_way", groups=["guests"])
    asked = urlencode({"response_type": "code", "client_id": uuid4(), "redirect_uri": "https://rp.example/cb" * 60})
    for going_to, arrives in (
        (f"/o/authorize/?{asked}&state={'x' * 2000}", True),
        (f"/x?{random_text(3900)}", False),
    ):
        browser = Browser(fakts)
        begun = await browser.get(f"/signin/with/university?{urlencode({'next': going_to})}")
        assert len(begun.headers["set-cookie"]) <= 4096
        back = await browser.get(university.sign_in(begun.headers["location"]))
        assert back.headers["location"] == (going_to if arrives else "/apps")


async def test_an_account_is_never_taken_over_by_a_name_or_an_address(
    fakts: RunningFakts, university: OpenIdProvider
) -> None:
    await fakts.user("anne")
    claims = {"preferred_username": "Anne", "email": "ANNE@example.org", "email_verified": True}
    university.person(sub="2", groups=["guests"], **claims)
    browser = Browser(fakts)
    assert (await browser.get(await come_back(browser, university))).status_code == 303
    await browser.get("/apps")
    assert "Signed in as <b>Anne2</b>" in browser.page
    assert (await fakts.ask("GET", "/v1/users/Anne2", 200))["email"] is None
    # A closed account stays closed.
    await fakts.ask("DELETE", "/v1/users/Anne2", 204)
    assert (await browser.get(await come_back(browser, university))).status_code == 403
    assert "closed" in browser.page


async def test_a_provider_vouches_for_its_own_people_only(fakts: RunningFakts, partner: Issuer) -> None:
    browser, truth = Browser(fakts), partner.metadata

    async def begins(name: str) -> bool:
        answer = await browser.get(f"/signin/with/{name}")
        assert answer.status_code == 302 or "does not answer as it should" in browser.page, answer.text
        return answer.status_code == 302

    for issuer in ("https://idp.corporate.example", f"{partner.url}/other", None):
        partner.metadata = {**truth, "issuer": issuer}
        assert not await begins("partner")
        assert not await begins("tenant")
    partner.metadata = truth
    assert await begins("partner")
    assert not await begins("tenant")
    partner.metadata = {**truth, "issuer": "https://tenant.example.org"}
    assert await begins("tenant")


async def test_what_goes_wrong_is_said_in_words_and_signs_nobody_in(
    fakts: RunningFakts, university: OpenIdProvider
) -> None:
    browser = Browser(fakts)

    async def refused(url: str, status: int, words: str) -> None:
        answer = await browser.get(url)
        assert answer.status_code == status, answer.text
        assert words in browser.page
        assert (await browser.get("/apps")).status_code == 303

    university.person(sub="3", groups=["strangers"])
    await refused(await come_back(browser, university), 403, "may not come in here")
    university.person(sub="4", groups=["guests"])
    back = await come_back(browser, university)
    await refused(back.replace("state=", "state=x"), 400, "start again")
    await refused(back.replace("code=", "code=x"), 400, "start again")
    university.person(sub="4", declines=True)
    await refused(await come_back(browser, university), 400, "did not sign you in")
    await refused("/signin/with/university/callback?code=x&state=y", 400, "start again")
    await refused("/signin/with/gone", 503, "Gone does not answer")
    await refused("/signin/with/nobody", 404, "no such way")
    assert await fakts.ask("GET", "/v1/users/user", 404)
