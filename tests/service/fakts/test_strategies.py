"""A strategy from a package of somebody else's, installed for real."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.common import db
from services.fakts.preflight import rules
from services.fakts.preflight.rules import Rule
from services.fakts.preflight.strategies import catalog
from services.fakts.preflight.strategies.interface import Preflight, Refuse, Via
from services.fakts.where import Zone
from tests.service.fakts.running import RunningFakts

PACKAGE = Path(__file__).parents[3] / "examples" / "strategies" / "office_hours"
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the path; what is installed there is found, as after a restart."""
    target = tmp_path / "packages"
    monkeypatch.syspath_prepend(str(target))
    catalog.installed.cache_clear()
    yield target
    catalog.installed.cache_clear()
    sys.modules.pop("constellation_office_hours", None)


async def install(package: Path, target: Path) -> None:
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    pip = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "install", "--quiet", *options, "--target", str(target), str(package)
    )
    assert await asyncio.wait_for(pip.wait(), 120) == 0
    importlib.invalidate_caches()
    catalog.installed.cache_clear()


async def start(fakts: RunningFakts) -> dict[str, Any]:
    body = {"manifest": {"identifier": "org.example.app", "version": "1"}}
    found: dict[str, Any] = (await fakts.http.post("/o/app-authorization/", json=body)).json()
    return found


async def test_an_installed_package_adds_a_strategy_that_rules_name(fakts: RunningFakts, installed: Path) -> None:
    def hours(**more: Any) -> dict[str, Any]:
        hours = {"name": "hours", "strategy": "office-hours", "opens": "00:00", "closes": "23:59:59.999999", **more}
        return {"rules": [hours, {"name": "users", "strategy": "signed-in"}]}

    problem = await fakts.ask("PUT", "/admin/v1/rules", 400, json=hours())
    assert "no strategy 'office-hours'" in problem["detail"]
    await install(PACKAGE, installed)
    assert "office-hours" in (await fakts.ask("GET", "/admin/v1/rules", 200))["strategies"]
    for bad, words in (
        ({"opens": "8 o'clock"}, "time of day"),
        ({"days": "noon"}, "no day"),
        ({"zone": "Mars"}, "zone"),
    ):
        problem = await fakts.ask("PUT", "/admin/v1/rules", 400, json=hours(**bad))
        assert words in problem["detail"]
    await fakts.ask("PUT", "/admin/v1/rules", 200, json=hours(days=DAYS))
    assert (await start(fakts))["status"] == "granted"
    today = db.now().weekday()
    await fakts.ask("PUT", "/admin/v1/rules", 200, json=hours(days=[DAYS[(today + 3) % 7]]))
    answer = await start(fakts)
    assert answer["error"] == "access_denied"
    assert answer["error_description"].startswith("Apps are let in from 00:00 to 23:59 (UTC)")

    app = Preflight(
        via=Via.DEVICE,
        identifier="a",
        version="1",
        scopes=frozenset(),
        kind="desktop",
        role="agent",
        device="",
        address="",
        zone=Zone.PUBLIC,
        organization=None,
        at=datetime(2026, 7, 1, 16, 29, tzinfo=UTC),
        manifest={},
    )
    rule = Rule("h", "office-hours", {}, {"opens": "08:00", "closes": "16:30"})
    open_until = [rule, *rules.DEFAULT]
    assert rules.decide(open_until, app, catalog.find).rule == rules.DEFAULT[0].name
    closed = rules.decide(open_until, replace(app, at=datetime(2026, 7, 1, 16, 30, tzinfo=UTC)), catalog.find)
    assert isinstance(closed.decision, Refuse)
