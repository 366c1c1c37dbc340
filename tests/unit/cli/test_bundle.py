"""Bundles on the command line, in the words of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from constellation.bundle import checks, download
from constellation.cli import app
from tests.support.bundles import LAUNCH, SATELLITE, SECRET, Mothership
from tests.support.fakts_double import signing_key

IDS = (str(SATELLITE), str(LAUNCH))
KEY = "simZZZZ1111bbbb2222CCCC33331"
URL = "http://mothership.example"

Run = Callable[..., Any]


@pytest.fixture
async def mothership(tmp_path: Path) -> Mothership:
    found = Mothership(tmp_path / "store")
    await found.offer()
    return found


@pytest.fixture
def run(mothership: Mothership, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `algo-install satellite` in an empty folder, of somebody who has nothing but the bundle."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(download, "LOOK_SECONDS", 0.0)
    for name in ("CONSTELLATION_URL", "CONSTELLATION_API_KEY", "CONSTELLATION_ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def runner(*arguments: str, ids: tuple[str, ...] = IDS) -> Any:
        return CliRunner().invoke(app, ["satellite", *ids, *arguments], obj=mothership)

    return runner


def test_it_is_fetched_where_it_always_was(run: Run, mothership: Mothership) -> None:
    mothership.waiting = ["the image of joe/echo"]
    done = run("get", KEY, "--url", URL)
    assert done.exit_code == 0, done.stderr
    assert "the platform makes what is missing: the image of joe/echo" in done.stderr
    assert signing_key().thumbprint() in done.stdout
    assert not {KEY, SECRET} & set((done.stdout + done.stderr).split())
    folder = Path("deployment/current/satellite", *IDS)
    assert (folder / "bundle" / "plan.json").is_file()
    again = run("get", KEY)
    assert "nothing, it is up to date" in again.stdout, "the folder knows the platform"
    assert mothership.mandates == [f"satellite.{LAUNCH}"], "one credential for reports, kept"
    assert (folder / "report.json").stat().st_mode & 0o777 == 0o600


def test_it_may_be_anywhere_and_the_key_may_be_pinned(run: Run, mothership: Mothership, tmp_path: Path) -> None:
    where = ("--dir", str(tmp_path / "any where"))
    wrong = run("get", KEY, "--url", URL, *where, "--key", "another")
    assert (wrong.exit_code, "not with another" in wrong.stderr) == (1, True)
    assert run("get", KEY, "--url", URL, *where, "--key", signing_key().thumbprint()).exit_code == 0
    assert run("verify", *where, "--key", signing_key().thumbprint()).exit_code == 0
    assert "not with another" in run("verify", *where, "--key", "another").stderr
    shown = run("show", *where)
    assert "edge/echo\tjoe/echo/" in shown.stdout
    other = run("show", *where, ids=(IDS[1], IDS[0]))
    assert (other.exit_code, f"is of satellite {SATELLITE}" in other.stderr) == (1, True)


def test_what_is_configured_is_checked_and_shown(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no bundle in" in run("configure", "stage.fqdn=a.example").stderr
    run("get", KEY, "--url", URL)
    done = run("configure", ".stage.fqdn=edge.example", "stage.kubernetes.namespace=sat")
    assert done.exit_code == 0, done.stderr
    refused = run("configure", "stage.fqdn=other.example", ".stage.kubernetes.namespace=Not legal")
    assert refused.exit_code == 1
    assert "stage.kubernetes.namespace: 'Not legal' is no name" in refused.stderr
    refused = run("configure", "stage.fqdn=other.example", ".stage.kubernetes.kubeconfig_path=none")
    assert "stage.kubernetes.kubeconfig_path: " in refused.stderr
    shown = run("configure").stdout
    assert "stage.fqdn\tedge.example" in shown
    assert "stage.kubernetes.namespace\tsat" in shown

    async def nothing(*_: object, **__: object) -> None:
        """The registry is elsewhere."""

    monkeypatch.setattr(checks, "check", nothing)
    assert "not configured yet: stage.container_registry" in run("deploy").stderr
    run("configure", "stage.container_registry=r.example/x", ".stage.kubernetes.kubeconfig_path=none")
    assert f"there is no kubeconfig {Path.cwd() / 'none'}" in run("deploy").stderr


@pytest.mark.parametrize("verb", ["verify", "show", "deploy", "run", "configure"])
def test_a_damaged_bundle_is_refused_by_name(run: Run, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("get", KEY, "--url", URL)

    async def nothing(*_: object, **__: object) -> None:
        """Neither is there."""

    monkeypatch.setattr(checks, "check", nothing)
    run(
        "configure",
        "stage.container_registry=r.example/x",
        ".stage.kubernetes.kubeconfig_path=none",
        "stage.kubernetes.namespace=sat",
    )
    folder = Path("deployment/current/satellite", *IDS)
    name = "configuration.json" if verb == "configure" else "secrets.json"
    path = folder / name if verb == "configure" else folder / "bundle" / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a", b"b", 1))
    refused = run(verb, *(["--port", "0"] if verb == "run" else []))
    assert (refused.exit_code, f"{name} is damaged" in refused.stderr) == (1, True), refused.stderr


def test_ids_and_commands_are_told_apart(run: Run) -> None:
    assert "no id of a satellite" in run("get", KEY, ids=("edge", "prod")).stderr
    assert "no id of a launch" in run("get", KEY, ids=(IDS[0], "prod")).stderr
    assert "get|configure|deploy|run" in run("--help", ids=()).stdout
    assert "SATELLITE_ID" in run("get", "--help").stdout
    assert run("launder", ids=()).exit_code == 2


def test_a_platform_that_gives_no_key_for_reports_gives_the_bundle(run: Run, mothership: Mothership) -> None:
    mothership.refuses_mandates = True
    done = run("get", KEY, "--url", URL)
    assert (done.exit_code, "will not report" in done.stderr) == (0, True)
    mothership.refuses_mandates = False
    assert run("get", KEY).exit_code == 0
    assert mothership.mandates == [f"satellite.{LAUNCH}"]
