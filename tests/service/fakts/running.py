"""Fakts as a whole, in this process: the real application on a real database, asked without sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.bus import Bus
from libs.common.contracts.joining import MANDATE_GRANT
from services.fakts.app import MIGRATIONS, SCHEMA, create_app
from services.fakts.context import Context
from services.fakts.settings import FaktsSettings
from tests.support.eventually import UNASKED, eventually
from tests.support.postgres import Postgres

JOIN_TOKEN = "the-join-token-of-this-test"
ORIGIN = "http://fakts.test:8001"
_WAITING = """select count(distinct pid) from pg_locks where not granted and pid in (
    select pid from pg_locks where database = (select oid from pg_database where datname = current_database()))"""


@dataclass
class RunningFakts:
    app: FastAPI
    http: httpx.AsyncClient
    settings: FaktsSettings

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    @property
    def credentials(self) -> dict[str, str]:
        """What the first start wrote down."""
        assert self.settings.admin_file is not None
        found: dict[str, str] = json.loads(self.settings.admin_file.read_text())
        return found

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.credentials['admin_api_key']}"}

    async def ask(self, method: str, path: str, status: int, **options: Any) -> Any:
        """An answer's JSON (None when it is empty), as an administrator unless `headers` say otherwise."""
        if "headers" not in options:
            options["headers"] = self.admin
        answer = await self.http.request(method, path, **options)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def refuses(self, raw: str) -> None:
        """Wait until an API key is refused, which is before anybody asks for it anew."""

        async def refused() -> bool:
            return (await self.http.get("/v1/users/x", headers={"authorization": raw})).status_code == 401

        await eventually(refused, UNASKED)

    async def user(self, name: str) -> dict[str, Any]:
        """A new user."""
        made: dict[str, Any] = await self.ask(
            "POST", "/v1/users", 201, json={"username": name, "email": f"{name}@example.org"}
        )
        return made

    async def organization(self, name: str, **more: Any) -> dict[str, Any]:
        """A new organization, owned by the administrator."""
        body = {"org_name": name, "org_label": "L", "org_contact_name": "C", "org_email": "o@example.org", **more}
        made: dict[str, Any] = await self.ask("POST", "/v1/organizations", 201, json=body)
        return made

    async def key(self, owner: str, *permissions: str, **more: Any) -> str:
        """A new key of an account, with these permissions."""
        body = {"owner": owner, "label": "k", "permissions": dict.fromkeys(permissions, True), **more}
        made = await self.ask("POST", "/admin/v1/keys", 201, json=body)
        raw: str = made["key"]
        return raw

    async def mandate(self, **body: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.ask("POST", "/admin/v1/mandates", 201, json=body)
        return made

    async def login(self, key: str, identifier: str, *, host: str | None = None, **manifest: Any) -> httpx.Response:
        """Log in with a mandate key."""
        document = {"identifier": identifier, "version": "1.0", **manifest}
        form = {
            "grant_type": MANDATE_GRANT,
            "key": key,
            "manifest": json.dumps(document),
            "requested_client_kind": "development",
            "requested_client_role": "agent",
            "request_auth_key": "false",
        }
        headers = {"host": host} if host else {}
        return await self.http.post("/o/token/", data=form, headers=headers)

    async def join(self, service: str) -> tuple[str, dict[str, str]]:
        """Log in as a service of the platform; returns the instance's id and its authorization."""
        answer = await self.login(JOIN_TOKEN, f"constellation.{service}", device_id=str(uuid4()))
        assert answer.status_code == 200, answer.text
        return answer.json()["client_id"], {"authorization": f"Bearer {answer.json()['access_token']}"}


async def others_wait(session: AsyncSession, number: int = 1) -> None:
    """Wait until that many transactions wait for a lock."""

    async def waiting() -> bool:
        return bool(await session.scalar(text(_WAITING)) == number)

    await eventually(waiting)


@asynccontextmanager
async def running(settings: FaktsSettings, *, bus: Bus | None = None) -> AsyncIterator[RunningFakts]:
    """Fakts, from the start to the end of its lifespan."""
    app = create_app(settings, bus=bus)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=ORIGIN, timeout=120.0) as http,
    ):
        yield RunningFakts(app, http, settings)


@asynccontextmanager
async def shared(postgres: Postgres, directory: Path, **more: Any) -> AsyncIterator[RunningFakts]:
    """Fakts for all tests of a module, on a database of its own."""
    url = await postgres.create_database((SCHEMA, MIGRATIONS))
    async with running(settings_for(url, directory, **more)) as started:
        yield started
    await postgres.drop_database(url)


def settings_for(database_url: str, directory: Path, **more: Any) -> FaktsSettings:
    values: dict[str, Any] = {
        "database_url": SecretStr(database_url),
        "join_token": SecretStr(JOIN_TOKEN),
        "data_dir": directory,
        "admin_file": directory / "admin.json",
        "port": 8001,
        "advertise_host": "fakts.test",
        "trusted_proxies": "127.0.0.0/8",
        **more,
    }
    return FaktsSettings(**values)
