"""A gateway with hosted data: its index in a real PostgreSQL, its bytes in a real folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx

from libs.common.blobs import Objects
from libs.common.contracts.identity import Permissions
from services.gateway.call_tokens import CallTokens
from services.gateway.data.hosted import FOLDER, MIGRATIONS, SCHEMA
from tests.service.gateway.conftest import SECRET, Platform

HISTORY = (SCHEMA, MIGRATIONS)


class Hosted:
    """Asks the gateway of `platform` for data, as joe unless told otherwise."""

    def __init__(self, platform: Platform, http: httpx.AsyncClient, folder: Path) -> None:
        self.platform = platform
        self.http = http
        self.folder = folder
        self.objects = Objects(str(folder), FOLDER)

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> httpx.Response:
        """One request. Paths that do not begin with a slash stand behind `/v1/data/`."""
        key = options.pop("key", self.platform.key)
        headers = {"authorization": key, **options.pop("headers", {})}
        url = self.platform.url + (path if path.startswith("/") else f"/v1/data/{path}")
        answer = await self.http.request(method, url, headers=headers, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        if status >= 400:
            assert answer.headers["x-error-message"]
            if method != "HEAD":
                assert answer.json()["error"]["message"]
        else:
            assert answer.headers["x-data-type"] in ("file", "directory")
        return answer

    async def make(self, name: str, acl: list[str] | None = None, **options: Any) -> None:
        body = {"name": name} if acl is None else {"name": name, "acl": {"read": acl}}
        await self.ask("POST", options.pop("parent", ".my"), json=body, **options)

    def key(self, account: str, allows: str = "rw") -> str:
        """A key of an account that may call algorithms, and read or write data."""
        permissions = Permissions(allow_algo=True, allow_data="r" in allows, allow_data_write="w" in allows)
        return self.platform.fakts.add_key(account, permissions=permissions)

    def stored(self) -> list[str]:
        """Names of the files in the object store, complete or not."""
        return sorted(path.name for path in (self.folder / FOLDER).rglob("*") if path.is_file())


def call_token(platform: Platform, account: str = "joe", **members: Any) -> str:
    """With this `joe/echo` acts for the account."""
    claims: dict[str, Any] = {
        "account": account,
        "key": "",
        "root": "req-root",
        "parent": "req-root",
        "depth": 1,
        "expires": int(time.time()) + 60,
        "algorithm": str(platform.echo.id),
        "data": "rw",
    }
    return CallTokens(SECRET).mint(**{**claims, **members})
