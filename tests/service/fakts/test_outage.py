"""PostgreSQL away for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.fakts.app import MIGRATIONS, SCHEMA
from tests.service.fakts.running import JOIN_TOKEN, running, settings_for
from tests.support.eventually import eventually
from tests.support.postgres import Postgres


async def test_without_the_database_writes_are_refused_and_afterwards_all_is_as_before(
    external_postgres: Postgres, tmp_path: Path
) -> None:
    url = await external_postgres.create_database((SCHEMA, MIGRATIONS))
    async with running(settings_for(url, tmp_path)) as fakts:
        await fakts.user("jane")
        _, service = await fakts.join("gateway")
        asks = {"manifest": {"identifier": "org.example.app", "version": "1"}}
        code = (await fakts.http.post("/lok/f/start/", json=asks)).json()["code"]
        await asyncio.to_thread(external_postgres.stop)
        body = {"username": "joe", "email": "joe@example.org"}
        for method, path in (("POST", "/v1/users"), ("GET", "/admin/v1/users"), ("GET", "/o/jwks/")):
            answer = await fakts.http.request(method, path, json=body, headers=fakts.admin)
            assert answer.status_code == 503, (path, answer.text)
            assert int(answer.headers["retry-after"]) > 0
        assert (await fakts.login(JOIN_TOKEN, "constellation.worker")).status_code == 503
        for name, status in (("challenge", "waiting"), ("claim", "error")):
            answer = await fakts.http.post(f"/lok/f/{name}/", json={"code": code, "token": "t"})
            assert (answer.status_code, answer.json()["status"]) == (200, status), "an app that waits waits on"
        assert (await fakts.http.get("/readyz")).status_code == 503
        assert (await fakts.http.get("/healthz")).status_code == 200
        await fakts.ask("GET", "/admin/v1/users", 401, headers={"authorization": "sim" + "A" * 24 + "1"})

        await asyncio.to_thread(external_postgres.start)

        async def back() -> bool:
            return (await fakts.http.get("/readyz")).status_code == 200

        await eventually(back)
        names = [user["name"] for user in (await fakts.ask("GET", "/admin/v1/users", 200))["items"]]
        assert names == ["admin", "jane"]
        assert (await fakts.http.post("/lok/f/challenge/", json={"code": code})).json()["status"] == "pending"
        await fakts.user("joe")
        raw = await fakts.key("joe", "allow_algo")
        await fakts.ask("GET", "/v1/users/joe", 200, headers={"authorization": raw})
        await fakts.ask("GET", "/internal/feeds/identity", 200, headers=service)
