"""Secrets stay out of logs, errors and lists."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from pydantic import SecretStr

from libs.common import logs
from tests.service.fakts.running import JOIN_TOKEN, running, settings_for


@pytest.fixture
def verbose_logs(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Everything is logged, as a service in production logs it, to where the test can read it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs.configure(level="DEBUG")
    structlog.configure(cache_logger_on_first_use=False)  # other tests have loggers of their own
    yield capsys
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_no_secret_is_in_a_log_or_a_list(
    fakts_url: str, tmp_path: Path, verbose_logs: pytest.CaptureFixture[str]
) -> None:
    given = settings_for(
        fakts_url,
        tmp_path,
        bus_url=SecretStr("amqp://user:bus-password@127.0.0.1:1/"),
        admin_password=SecretStr("the given password"),
    )
    async with running(given) as fakts:
        found = fakts.credentials
        await fakts.user("jane")
        raw = await fakts.key("jane", "allow_algo")
        mandate = await fakts.mandate()
        joined = (await fakts.login(JOIN_TOKEN, "constellation.gateway", device_id=str(uuid4()))).json()
        bearer = {"authorization": f"Bearer {joined['access_token']}"}
        body = {"username": "admin", "password": "the given password"}
        await fakts.ask("POST", "/internal/passwords/verify", 200, json=body, headers=bearer)
        await fakts.ask("POST", "/internal/passwords/verify", 401, json={**body, "username": "x"}, headers=bearer)
        await fakts.login("wrong " + mandate["key"], "org.example.app")
        await fakts.ask("PATCH", "/admin/v1/users/jane", 200, json={"password": "a new password"})
        await fakts.ask("POST", "/admin/v1/keys", 400, json={"owner": "jane", "label": "x", "admin": True})
        lists = [
            await fakts.ask("GET", f"/admin/v1/{name}", 200)
            for name in ("users", "organizations", "keys", "mandates", "services")
        ]
        master = (tmp_path / "master.key").read_text().strip()
        context = fakts.context.master
        secrets = {
            found["api_key"],
            found["admin_api_key"],
            "the given password",
            "a new password",
            raw,
            mandate["key"],
            JOIN_TOKEN,
            joined["access_token"],
            master,
            context.call_token_secret,
            context.edge_secret,
            context.secrets_key,
            "bus-password",
        }
    out, err = verbose_logs.readouterr()
    assert "administrator_created" in out + err
    for secret in secrets:
        assert secret not in out + err
        assert secret not in json.dumps(lists)
