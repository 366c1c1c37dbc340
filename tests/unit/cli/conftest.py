"""Commands, run against a platform whose answers are scripted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from constellation.cli import app
from tests.unit.cli.platform import ADMIN_KEY, KEY, URL, Platform, Run


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as an administrator whose platform runs here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CONSTELLATION_URL", "CONSTELLATION_API_KEY", "CONSTELLATION_ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".constellation").mkdir()
    document = {"url": URL, "username": "ana", "api_key": KEY, "admin_api_key": ADMIN_KEY}
    (tmp_path / ".constellation" / "admin.json").write_text(json.dumps(document))

    def runner(*arguments: str, input: str | None = None) -> Any:
        return CliRunner().invoke(app, arguments, obj=httpx.MockTransport(platform), input=input)

    return runner
