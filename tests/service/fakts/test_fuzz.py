"""No request makes fakts fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from libs.common.contracts.joining import MANDATE_GRANT
from services.fakts.app import create_app
from tests.service.fakts.browser import TOKEN, Browser
from tests.service.fakts.logging_in import DEVICE_GRANT, bearer, logged_in, relying_party, start
from tests.service.fakts.running import RunningFakts, settings_for
from tests.support.fuzzing import Fuzz, Sent
from tests.support.serving import serving

PASSWORD = "a good password"
PROTECTED = frozenset({"admin", "ann"})
"""Accounts that the fuzzing itself asks as: nobody may end them."""
PROVIDERS = """
[[provider]]
name = "away"
label = "A provider that does not answer"
discovery = "http://127.0.0.1:1/.well-known/openid-configuration"
client_id = "x"
client_secret = "x"
"""


async def test_no_request_makes_fakts_fail(fakts_url: str, tmp_path: Path) -> None:
    providers = tmp_path / "providers.toml"
    providers.write_text(PROVIDERS)
    providers.chmod(0o600)
    no_limits = dict.fromkeys(("starts_per_minute", "guesses_per_minute", "token_requests_per_minute"), 10**6)
    settings = settings_for(fakts_url, tmp_path, providers_file=providers, **no_limits)
    app = create_app(settings)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        fakts = RunningFakts(app, http, settings)
        callers, known = await _world(fakts, url)
        await Fuzz(
            app,
            url,
            callers,
            known,
            skips=_ends_a_caller,
            last=frozenset({"POST /o/revoke/", "POST /signout"}),
        ).run()


def _ends_a_caller(sent: Sent) -> bool:
    return sent.method in ("DELETE", "PATCH", "PUT") and not PROTECTED.isdisjoint(sent.segments)


async def _world(fakts: RunningFakts, url: str) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Who asks, and what there is to ask for."""
    for name in ("ann", "bob", "cay"):
        await fakts.user(name)
    types = await fakts.ask("GET", "/v1/organization/types", 200)
    for name in ("acme", "beta", "gamma"):
        await fakts.organization(name, external_id=f"ext-{name}", type_id=types[0]["id"])
        await fakts.ask("PUT", f"/v1/organizations/{name}/members/ann", 201, json={"role": "owner"})
    await fakts.ask("PUT", "/v1/organizations/acme/members/bob", 201)
    await fakts.ask("PATCH", "/admin/v1/users/ann", 200, json={"password": PASSWORD})

    key = await fakts.key("ann", "allow_algo", "allow_algo_management", "allow_data", "allow_data_write")
    browser = Browser(fakts, origin=url)
    await browser.sign_in("ann", PASSWORD)
    visit_token = TOKEN.search((await browser.get("/signin?again=true")).text)
    session_token = TOKEN.search((await browser.get("/apps")).text)
    assert visit_token is not None
    assert session_token is not None
    cookie = "; ".join(f"{name}={value}" for name, value in browser.http.cookies.items())
    await browser.http.aclose()
    instance, service = await fakts.join("registry")
    app = await logged_in(fakts, identifier="org.example.logged-in")
    party = await relying_party(fakts, client_credentials=True)

    started = [await start(fakts, identifier=f"org.example.app{n}") for n in range(12)]
    challenges = [await _start_one(fakts, f"org.example.one{n}") for n in range(4)]
    keys = [
        (await fakts.ask("POST", "/admin/v1/keys", 201, json={"owner": owner, "label": "k"}))["id"]
        for owner in ("ann", "bob", "acme", "acme", "beta")
    ]
    invites = [
        await fakts.ask("POST", "/v1/admin/invites", 201, json={"organization": name}) for name in ("acme", "beta")
    ]
    mandate = await fakts.mandate()
    redeem = await fakts.ask("POST", "/admin/v1/redeem-tokens", 201, json={"uses": None, "account": "ann"})
    offered = {"service": "org.example.outer", "instance": "one", "aliases": [{"id": "a", "host": "outer.test"}]}
    await fakts.ask("POST", "/admin/v1/services", 201, json=offered)

    users, groups = ["ann", "bob", "cay"], ["acme", "beta", "gamma"]
    codes = [one["user_code"] for one in started] + challenges
    manifest = {"identifier": "org.example.known", "version": "1.0"}
    known = {
        "name": [*users, *groups],
        "user": users,
        "username": users,
        "owner": [*users, *groups],
        "account": users,
        "org_name": groups,
        "organization": groups,
        "external_id": [f"ext-{name}" for name in groups],
        "type_id": [types[0]["id"]],
        "key_id": keys,
        "instance_id": [instance],
        "client_id": [app["client_id"], party["client_id"], started[0]["client_id"]],
        "client_secret": [party["client_secret"]],
        "mandate_id": [mandate["id"]],
        "token_id": [redeem["id"]],
        "invitation_id": [one["id"] for one in invites],
        "token": [*(one["token"] for one in invites), redeem["token"], app["access_token"], app["refresh_token"]],
        "refresh_token": [app["refresh_token"]],
        "key": [mandate["key"]],
        "manifest": [json.dumps(manifest)],
        "grant_type": [
            *("client_credentials", "authorization_code", "refresh_token", MANDATE_GRANT, DEVICE_GRANT),
        ],
        "device_code": [*(one["device_code"] for one in started), *codes],
        "code": codes,
        "form_token": [visit_token[1], session_token[1]],
        "current": [PASSWORD],
        "decision": ["approve", "deny"],
        "provider": ["away"],
        "service": ["org.example.outer", "constellation.registry"],
        "instance": ["one"],
        "issuer": ["http://127.0.0.1:1", url],
        "response_type": ["code"],
        "redirect_uri": ["https://rp.example/cb"],
        "scope": ["openid profile offline_access"],
    }
    callers = {
        "nobody": {},
        "an app": bearer(app["access_token"]),
        "a person": {"authorization": key, "cookie": cookie},
        "an administrator": fakts.admin,
        "a service": service,
    }
    return callers, known


async def _start_one(fakts: RunningFakts, identifier: str) -> str:
    """The code of an app that speaks version 1 of the protocol."""
    body: dict[str, Any] = {"manifest": {"identifier": identifier, "version": "1.0"}}
    answer = (await fakts.http.post("/lok/f/start/", json=body)).json()
    code: str = answer["code"]
    return code
