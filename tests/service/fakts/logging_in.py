"""Apps that log in, as tests drive them: over HTTP, with the decision made by an administrator."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from tests.service.fakts.running import RunningFakts

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says. Its signature is checked elsewhere."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


async def start(fakts: RunningFakts, **manifest: Any) -> dict[str, Any]:
    """An app asks to be let in; returns the answer."""
    document = {"identifier": "org.example.app", "version": "1.0", "scopes": ["openid", "algo:call"], **manifest}
    body = {"manifest": document, "expiration_time_seconds": 300, "requested_client_kind": "development"}
    answer = await fakts.http.post("/o/app-authorization/", json=body)
    assert answer.status_code == 200, answer.text
    started: dict[str, Any] = answer.json()
    return started


async def poll(fakts: RunningFakts, started: dict[str, Any], **more: Any) -> httpx.Response:
    form = {"grant_type": DEVICE_GRANT, "device_code": started["device_code"], "client_id": started["client_id"]}
    return await fakts.http.post("/o/token/", data={**form, **more})


async def logged_in(fakts: RunningFakts, **manifest: Any) -> dict[str, Any]:
    """An app that an administrator let in; returns its token answer."""
    started = await start(fakts, **manifest)
    await fakts.ask("POST", f"/admin/v1/codes/{started['user_code']}/approve", 200, json={})
    answer = await poll(fakts, started)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refreshed(fakts: RunningFakts, answer: dict[str, Any], **more: Any) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"], "client_id": answer["client_id"]}
    return await fakts.http.post("/o/token/", data={**form, **more})


async def relying_party(fakts: RunningFakts, **more: Any) -> dict[str, Any]:
    """A client that an administrator registers."""
    body = {"name": "Notebook", "redirect_uris": ["https://rp.example/cb"], **more}
    made: dict[str, Any] = await fakts.ask("POST", "/admin/v1/clients", 201, json=body)
    return made


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def refusal(answer: httpx.Response, error: str, *words: str, status: int = 400) -> None:
    """An error answer of OAuth, with these words in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == error, body
    for word in words:
        assert word in body["error_description"], body
