"""What npm gets to see of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from services.worker.indexes import Indexes
from services.worker.node_packages import NodePackages
from services.worker.python_packages import MAX_LOCK_BYTES, RequirementsFailed
from services.worker.steps import Steps, Workspace
from services.worker.toolchain import Node


@pytest.fixture
def packages() -> NodePackages:
    """None that runs anything."""
    return NodePackages(cast(Steps, None), cast(Node, None), cast(Indexes, None), {})


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "place").mkdir()
    return Workspace(tmp_path / "place", tmp_path / "tmp", tmp_path / "cache", None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


async def test_a_lock_is_taken_from_inside_only(packages: NodePackages, place: Workspace, source: Path) -> None:
    (source.parent / "secret").write_text("a secret")
    for name in ("package-lock.json", "npm-shrinkwrap.json", "package.json", ".npmrc"):
        (source / name).symlink_to("../secret")
    assert await packages.lock(place, source, lambda _: None) is None
    assert not list((place.folder / "project").iterdir())

    (source / "locks").mkdir()
    (source / "locks" / "current").write_text("{}")
    (source / "npm-shrinkwrap.json").unlink()
    (source / "npm-shrinkwrap.json").symlink_to("locks/current")
    assert await packages.lock(place, source, lambda _: None) == b"{}"


async def test_a_lock_without_end_is_refused(packages: NodePackages, place: Workspace, source: Path) -> None:
    with (source / "package-lock.json").open("wb") as file:
        file.truncate(MAX_LOCK_BYTES + 1)
    with pytest.raises(RequirementsFailed, match=r"package-lock\.json is larger than"):
        await packages.lock(place, source, lambda _: None)
