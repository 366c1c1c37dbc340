"""Constellation as an image: what is packed of this installation, and that it runs from just these files."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from libs.common.oci.layers import Entry, UnfitForLayer, write_layer
from services.worker import gateway_image
from services.worker.gateway_image import LEFT_OUT, SITE, closure

SECONDS = 120.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with what the image has above its base."""
    root = tmp_path_factory.mktemp("root")
    for entries in gateway_image.parts().values():
        for entry in entries:
            _lay(root, entry)
    return root


def _lay(root: Path, entry: Entry) -> None:
    path = root / entry.path.relative_to("/")
    if entry.source is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    assert isinstance(entry.source, Path)
    path.symlink_to(entry.source)


def run(root: Path, *arguments: str) -> str:
    """What this machine's Python prints that sees the packed files and its standard library, nothing else."""
    site = root / SITE.relative_to("/")
    done = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-S", "-s", "-P", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=root,
        env={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath, "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_gateway_runs_from_what_is_packed(root: Path) -> None:
    code = (
        "import sys, services.gateway.app, services.gateway.protocol, constellation.serve\n"
        "from importlib.metadata import version\n"
        "print(version('constellation'))\n"
        "files = [getattr(one, '__file__', None) or '' for one in sys.modules.values()]\n"
        "print(*(one for one in files if 'site-packages' in one))"
    )
    assert run(root, "-c", code).split() == [version("constellation")]
    assert "Run one service" in run(root, "-m", "constellation", "serve", "--help")


def test_what_no_gateway_needs_stays_out(root: Path) -> None:
    site = root / SITE.relative_to("/")
    names = {path.name.lower().replace("-", "_") for path in site.iterdir()}
    for left_out in LEFT_OUT:
        module = left_out.replace("-", "_")
        assert not [name for name in names if name.startswith(f"{module}_") or name == module], left_out
    noted = {path.name for path in site.glob("*.dist-info/*")}
    assert noted >= {"METADATA", "entry_points.txt"}
    assert not noted & {"RECORD", "INSTALLER", "direct_url.json"}
    assert not list(site.rglob("__pycache__"))


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    layers = [write_layer(gateway_image.parts()["platform"], tmp_path / name) for name in ("a", "b")]
    assert layers[0].descriptor == layers[1].descriptor


class Site:
    """Made-up installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, *requires: str, recorded: bool = True) -> None:
        info = self.folder / f"{name}-1.dist-info"
        info.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            "Version: 1",
            *(f"Requires-Dist: {one}" for one in requires),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        if recorded:
            (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.dist-info/METADATA,,\n../../bin/{name},,\n")
            (self.folder / f"{name}.py").write_text("")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path)


def test_the_closure_follows_extras_and_markers_and_ends_at_what_is_left_out(site: Site) -> None:
    site.add(
        "made_up", "made_b[fast]>=1", "made_c", 'made_windows; sys_platform == "win32"', 'made_dev; extra == "dev"'
    )
    site.add("made_b", 'made_d; extra == "fast"', 'made_e; extra == "slow"', "made_up")
    site.add("made_c", "made_only_for_c")
    site.add("made_d")
    assert list(closure("made-up", frozenset({"made-c"}))) == ["made-b", "made-d", "made-up"]
    with pytest.raises(UnfitForLayer, match="the package made_only_for_c is not installed here"):
        closure("made-up", frozenset())


def test_a_distribution_without_a_record_is_refused(site: Site) -> None:
    site.add("made_up", recorded=False)
    site.add("made_b")
    packed = list(gateway_image.files(closure("made_b", frozenset())["made-b"]))
    assert [str(entry.path.relative_to(SITE)) for entry in packed] == [
        "made_b.py",
        "made_b-1.dist-info/METADATA",
    ]
    with pytest.raises(UnfitForLayer, match="made_up has no record of its files"):
        list(gateway_image.files(closure("made_up", frozenset())["made-up"]))
