"""Clients that know nothing of this platform but the standards: npm's openid-client, and Authlib's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from services.fakts.app import MIGRATIONS, SCHEMA, create_app
from tests.service.fakts.browser import Browser
from tests.service.fakts.logging_in import DEVICE_GRANT, relying_party
from tests.service.fakts.running import RunningFakts, settings_for
from tests.support.openid import relying_party as openid_client
from tests.support.openid.relying_party import Refused
from tests.support.postgres import Postgres
from tests.support.serving import bound, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
CALLBACK = "http://127.0.0.1:9/cb"
SCOPE = "openid profile email offline_access"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fakts(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFakts]:
    """On a real port: other processes ask it."""
    url = await postgres.create_database((SCHEMA, MIGRATIONS))
    listener = bound()
    settings = settings_for(
        url,
        tmp_path_factory.mktemp("fakts"),
        port=listener.getsockname()[1],
        advertise_host="127.0.0.1",
        device_interval_seconds=1,
    )
    app = create_app(settings)
    async with serving(app, listener) as served, httpx.AsyncClient(base_url=served, timeout=30.0) as http:
        started = RunningFakts(app, http, settings)
        await started.user("jane")
        await started.ask("PATCH", "/admin/v1/users/jane", 200, json={"password": PASSWORD})
        yield started
    await postgres.drop_database(url)


async def approved(fakts: RunningFakts, url: str, browser: Browser | None = None) -> str:
    """What Jane's browser does with the authorization URL; returns where it is sent back to."""
    browser = browser or Browser(fakts, origin=str(fakts.http.base_url))
    await browser.sign_in("jane", PASSWORD)
    page = (await browser.get(url)).headers["location"]
    await browser.get(page)
    answer = await browser.post(page, decision="approve")
    back: str = answer.headers["location"]
    assert back.startswith(CALLBACK), back
    return back


@pytest.mark.parametrize("method", ["", "ClientSecretBasic", "ClientSecretPost"])
async def test_openid_client_signs_a_person_in(fakts: RunningFakts, method: str) -> None:
    party = await relying_party(
        fakts, confidential=bool(method), redirect_uris=[CALLBACK], client_credentials=bool(method)
    )
    issuer = str(fakts.http.base_url).rstrip("/")
    jane = await fakts.ask("GET", "/v1/users/jane", 200)
    async with openid_client.relying_party(issuer, party, method) as client:
        url = await client.do("authorization_url", redirect_uri=CALLBACK, scope=SCOPE)
        assert urlsplit(url).path == "/o/authorize/"
        tokens = await client.do("come_back", url=await approved(fakts, url))
        assert (tokens["claims"]["sub"], tokens["claims"]["email"]) == (jane["id"], "jane@example.org")
        known = await client.do("userinfo", token=tokens["access_token"], subject=jane["id"])
        assert (known["preferred_username"], known["sub"]) == ("jane", jane["id"])
        newer = await client.do("refresh", token=tokens["refresh_token"])
        assert newer["refresh_token"] != tokens["refresh_token"]
        await poll_device(client, fakts)
        if method:
            found = await client.do("introspect", token=newer["access_token"])
            assert (found["active"], found["username"], found["sub"]) == (True, "jane", jane["id"])
            assert (await client.do("as_itself", scope="openid"))["scope"] == "openid"
        await client.do("revoke", token=newer["refresh_token"])
        for token in (newer["refresh_token"], tokens["refresh_token"]):
            with pytest.raises(Refused) as refused:
                await client.do("refresh", token=token)
            assert refused.value.error == "invalid_grant"
        if method:
            assert (await client.do("introspect", token=newer["access_token"]))["active"] is False


async def test_openid_client_signs_a_person_out(fakts: RunningFakts) -> None:
    bye = "http://127.0.0.1:9/bye"
    party = await relying_party(fakts, redirect_uris=[CALLBACK], post_logout_redirect_uris=[bye])
    issuer = str(fakts.http.base_url).rstrip("/")
    async with openid_client.relying_party(issuer, party, "ClientSecretBasic") as client:
        url = await client.do("authorization_url", redirect_uri=CALLBACK, scope=SCOPE)
        browser = Browser(fakts, origin=issuer)
        tokens = await client.do("come_back", url=await approved(fakts, url, browser))
        url = await client.do(
            "end_session_url", post_logout_redirect_uri=bye, state="s-1", id_token_hint=tokens["id_token"]
        )
        assert urlsplit(url).path == "/o/logout/"
        answer = await browser.get(url)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{bye}?state=s-1")
        assert (await browser.get("/apps")).headers["location"].startswith("/signin"), "signed out here as well"


async def poll_device(client: Any, fakts: RunningFakts) -> None:
    """The device grant: it polls while somebody decides."""
    started = await client.do("start_device", scope="openid profile")
    assert started["verification_uri_complete"].endswith(started["user_code"])
    polling = asyncio.create_task(client.do("poll_device"))
    await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 200, json={})
    tokens = await polling
    assert (tokens["scope"], "refresh_token" in tokens) == ("openid profile", True)
    again = await client.do("start_device", scope="openid")
    await fakts.ask("POST", f"/admin/v1/codes/{again['user_code']}/deny", 200, json={})
    with pytest.raises(Refused) as refused:
        await client.do("poll_device")
    assert refused.value.error == "access_denied"


async def test_authlibs_client_does_the_same(fakts: RunningFakts) -> None:
    party = await relying_party(fakts, redirect_uris=[CALLBACK], client_credentials=True)
    documents = [
        (await fakts.http.get(f"/.well-known/{name}")).json()
        for name in ("openid-configuration", "oauth-authorization-server")
    ]
    assert documents[0] == documents[1]
    at = documents[0]
    async with AsyncOAuth2Client(
        party["client_id"],
        party["client_secret"],
        scope=SCOPE,
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint=at["token_endpoint"],
    ) as client:
        verifier = "a" * 50
        url, state = client.create_authorization_url(at["authorization_endpoint"], code_verifier=verifier)
        back = await approved(fakts, url)
        first = await client.fetch_token(authorization_response=back, state=state, code_verifier=verifier)
        assert first["id_token"]
        known = (await client.get(at["userinfo_endpoint"])).json()
        assert known["preferred_username"] == "jane"
        newer = await client.refresh_token(at["token_endpoint"])
        assert newer["refresh_token"] != first["refresh_token"]
        asked = await client.introspect_token(at["introspection_endpoint"], token=newer["access_token"])
        assert asked.json()["active"] is True
        gone = await client.revoke_token(at["revocation_endpoint"], token=newer["refresh_token"])
        assert gone.json() == {}
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.refresh_token(at["token_endpoint"], refresh_token=newer["refresh_token"])
        own = await client.fetch_token(grant_type="client_credentials", scope="openid")
        assert own["scope"] == "openid"
        started = (
            await client.request(
                "POST",
                at["device_authorization_endpoint"],
                withhold_token=True,
                data={"client_id": party["client_id"], "client_secret": party["client_secret"], "scope": "openid"},
            )
        ).json()
        with pytest.raises(OAuthError, match="authorization_pending"):
            await client.fetch_token(grant_type=DEVICE_GRANT, device_code=started["device_code"])
        await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 200, json={})
        mine = await client.fetch_token(grant_type=DEVICE_GRANT, device_code=started["device_code"])
        assert mine["refresh_token"]
