"""The first start, and all later ones."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import func, select
from structlog.testing import capture_logs

from libs.common.db import Database
from libs.common.problems import Invalid
from services.fakts.app import SCHEMA
from services.fakts.master_key import MasterKeyFault
from services.fakts.models import ApiKey, Mandate, SigningKey, User
from services.fakts.settings import FaktsSettings
from tests.service.fakts.running import JOIN_TOKEN, running, settings_for
from tests.support.eventually import eventually


async def test_the_first_start_writes_working_credentials_for_their_owner_only(settings: FaktsSettings) -> None:
    async with running(settings) as fakts:
        found = fakts.credentials
        assert set(found) == {"url", "username", "password", "api_key", "admin_api_key"}
        assert (found["url"], found["username"]) == ("http://fakts.test:8001", "admin")
        assert settings.admin_file is not None
        assert stat.S_IMODE(settings.admin_file.stat().st_mode) == 0o600
        assert (await fakts.ask("GET", "/admin/v1/users", 200))["items"][0]["staff"] is True
        own = await fakts.ask("GET", "/v1/users/admin/keys", 200, headers={"authorization": found["api_key"]})
        labels = {key["key_label"]: key for key in own["results"]}
        assert labels["default-key"]["permissions"]["allow_algo_management"] is True
        assert labels["admin-key"]["key_type"] == "PlatformAdminKey"
        _, service = await fakts.join("gateway")
        body = {"username": "admin", "password": found["password"]}
        account = await fakts.ask("POST", "/internal/passwords/verify", 200, json=body, headers=service)
        assert (account["name"], account["staff"]) == ("admin", True)


async def test_later_starts_make_nothing_new(settings: FaktsSettings) -> None:
    async with running(settings) as fakts:
        before = fakts.credentials
    async with running(settings) as fakts:
        assert fakts.credentials == before
        assert len((await fakts.ask("GET", "/admin/v1/keys", 200))["items"]) == 2
        assert len((await fakts.ask("GET", "/admin/v1/mandates", 200))["items"]) == 1


async def test_two_first_starts_at_once_make_one_administrator(fakts_url: str, tmp_path: Path) -> None:
    both = [settings_for(fakts_url, tmp_path / name, master_key=_master()) for name in "ab"]
    started = asyncio.Barrier(2)

    async def start(one: FaktsSettings) -> None:
        async with running(one):
            await started.wait()

    await asyncio.gather(*(start(one) for one in both))
    database = Database(fakts_url, SCHEMA)
    async with database.transaction() as session:
        tables = (User, ApiKey, Mandate, SigningKey)
        counts = [await session.scalar(select(func.count()).select_from(table)) for table in tables]
    await database.close()
    assert counts == [1, 2, 1, 1]
    assert len([one for one in both if one.admin_file and one.admin_file.exists()]) == 1


async def test_a_missing_file_is_not_made_again_but_told_of(settings: FaktsSettings) -> None:
    async with running(settings) as fakts:
        before = fakts.credentials
    assert settings.admin_file is not None
    settings.admin_file.unlink()
    with capture_logs() as said:
        async with running(settings):
            assert not settings.admin_file.exists()
    hints = [event["hint"] for event in said if event["event"] == "admin_file_missing"]
    assert "CONSTELLATION_ADMIN_RECOVER" in hints[0]
    async with running(settings) as fakts:
        headers = {"authorization": before["admin_api_key"]}
        assert len((await fakts.ask("GET", "/admin/v1/keys", 200, headers=headers))["items"]) == 2


async def test_recovering_replaces_all_credentials(settings: FaktsSettings) -> None:
    async with running(settings) as fakts:
        before = fakts.credentials
    async with running(settings.model_copy(update={"admin_recover": True})) as fakts:
        after = fakts.credentials
        assert not set(before.values()) & {after["password"], after["api_key"], after["admin_api_key"]}
        assert len((await fakts.ask("GET", "/admin/v1/keys", 200))["items"]) == 2
        old = {"authorization": before["admin_api_key"]}
        await fakts.ask("GET", "/admin/v1/keys", 401, headers=old)


async def test_a_given_password_and_name_are_used_and_an_illegal_name_is_refused(
    fakts_url: str, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match="not a legal name"):
        async with running(settings_for(fakts_url, tmp_path, admin_username="no good")):
            pass
    given = settings_for(
        fakts_url,
        tmp_path,
        admin_username="root",
        admin_password=SecretStr("a given one"),
        public_url="https://c.test",
    )
    async with running(given) as fakts:
        found = fakts.credentials
        assert (found["username"], found["password"], found["url"]) == ("root", "a given one", "https://c.test")


async def test_a_file_that_cannot_be_written_stops_the_start_and_leaves_no_account(
    fakts_url: str, tmp_path: Path
) -> None:
    (tmp_path / "in_the_way").write_text("a file, no folder")
    with pytest.raises(OSError, match="in_the_way"):
        async with running(settings_for(fakts_url, tmp_path, admin_file=tmp_path / "in_the_way" / "admin.json")):
            pass
    async with running(settings_for(fakts_url, tmp_path)) as fakts:
        assert json.loads((tmp_path / "admin.json").read_text()) == fakts.credentials


async def test_a_changed_join_token_replaces_the_former_one(settings: FaktsSettings) -> None:
    async with running(settings):
        pass
    changed = settings.model_copy(update={"join_token": SecretStr("another-token-of-this-test")})
    async with running(changed) as fakts:
        assert (await fakts.login(JOIN_TOKEN, "constellation.worker")).status_code == 400
        assert (await fakts.login("another-token-of-this-test", "constellation.worker")).status_code == 200


def test_a_short_join_token_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="at least 16") as caught:
        settings_for("postgresql://localhost/x", tmp_path, join_token=SecretStr("hunter2"))
    assert "hunter2" not in str(caught.value)


async def test_the_master_key_is_made_once_and_kept_private(settings: FaktsSettings) -> None:
    file = settings.data_dir / "master.key"
    async with running(settings) as fakts:
        before = (file.read_bytes(), fakts.context.master.call_token_secret, fakts.context.master.secrets_key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with running(settings) as fakts:
        after = (file.read_bytes(), fakts.context.master.call_token_secret, fakts.context.master.secrets_key)
    assert before == after
    assert before[1] != before[2]


async def test_a_lost_wrong_or_open_master_key_stops_the_start(settings: FaktsSettings) -> None:
    file = settings.data_dir / "master.key"
    async with running(settings):
        pass
    file.chmod(0o644)
    with pytest.raises(MasterKeyFault, match="chmod 600"):
        async with running(settings):
            pass
    file.unlink()
    with pytest.raises(MasterKeyFault, match=r"master\.key is missing"):
        async with running(settings):
            pass
    with pytest.raises(MasterKeyFault, match="another master key"):
        async with running(settings.model_copy(update={"master_key": _master()})):
            pass
    assert not file.exists()


async def test_fakts_is_among_the_instances_while_it_runs(settings: FaktsSettings) -> None:
    requirement = {"key": "fakts", "service": "constellation.fakts", "optional": True}
    short = settings.model_copy(update={"lease_seconds": 3.0})
    async with running(short) as one:
        async with running(short) as two:

            async def live(count: int) -> bool:
                listed = await one.ask("GET", "/admin/v1/services", 200)
                mine = [item for item in listed["items"] if item["service"] == "constellation.fakts"]
                return [item["live"] for item in mine].count(True) == count

            await eventually(lambda: live(2))
            leases = {item["lease_until"] for item in (await one.ask("GET", "/admin/v1/services", 200))["items"]}

            async def renewed() -> bool:
                listed = await one.ask("GET", "/admin/v1/services", 200)
                return not leases & {item["lease_until"] for item in listed["items"]}

            await eventually(renewed)
            answer = await two.login(JOIN_TOKEN, "constellation.gateway", requirements=[requirement])
            alias = answer.json()["instances"]["fakts"]["aliases"][0]
            assert (alias["host"], alias["port"], alias["challenge"]) == ("fakts.test", 8001, "healthz")
        await eventually(lambda: live(1))


def _master() -> SecretStr:
    return SecretStr("A" * 43 + "=")
