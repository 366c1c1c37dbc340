"""What fakts may be started with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.fakts.settings import FaktsSettings


def settings(**values: Any) -> FaktsSettings:
    needed = {"database_url": SecretStr("postgresql://u:hunter2@h/x"), "join_token": SecretStr("x" * 16)}
    return FaktsSettings(**{**needed, **values})


@pytest.mark.parametrize(
    ("url", "kept"),
    [("https://c.test", "https://c.test"), ("http://c.test:8000/", "http://c.test:8000"), ("", None), (None, None)],
)
def test_the_public_url_is_an_origin(url: str | None, kept: str | None) -> None:
    assert settings(public_url=url).public_url == kept


@pytest.mark.parametrize("url", ["c.test", "ftp://c.test", "http://", "http://c.test/path", "http://c.test/?q"])
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="CONSTELLATION_PUBLIC_URL"):
        settings(public_url=url)


def test_secrets_do_not_show_in_its_text() -> None:
    shown = repr(settings(admin_password=SecretStr("swordfish"), master_key=SecretStr("opensesame")))
    assert not [secret for secret in ("hunter2", "x" * 16, "swordfish", "opensesame") if secret in shown]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://h/x",
        "JOIN_TOKEN": "y" * 20,
        "ADMIN_FILE": "/x/admin.json",
        "ADMIN_RECOVER": "true",
        "MASTER_KEY": "AAAA",
    }.items():
        monkeypatch.setenv(f"CONSTELLATION_{name}", value)
    found = FaktsSettings()
    assert found.join_token.get_secret_value() == "y" * 20
    assert found.admin_recover
    assert str(found.admin_file) == "/x/admin.json"
    assert found.master_key is not None


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUS_URL", "BLOB_URL", "PUBLIC_URL", "MASTER_KEY", "ADMIN_PASSWORD", "ADMIN_FILE"):
        monkeypatch.setenv(f"CONSTELLATION_{name}", "")
    found = settings()
    assert {found.bus_url, found.blob_url, found.public_url, found.master_key, found.admin_password} == {None}
    assert found.admin_file is None
