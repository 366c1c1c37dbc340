"""What machines make of an image's layers without a container engine."""

from __future__ import annotations

import platform
from pathlib import Path, PurePosixPath

import pytest

from libs.common.contracts.catalog import Artifact, Language
from libs.common.oci.documents import Platform
from libs.common.oci.images import Image, Stacked, Start, compose, scratch
from libs.common.oci.layers import Entry, write_layer
from libs.common.oci.layout import Layout
from services.worker import trees, unpacked
from services.worker.environments import LanguageMissing
from services.worker.folders import Folders
from services.worker.toolchain import Interpreter
from services.worker.trees import BadArchive
from services.worker.unpacked import Source, UnpackedImages

HERE = Platform.of(platform.machine())
PYTHON = Interpreter(Path("/here/bin/python3.11"), Path("/here"), Path("/here/lib"), "3.11.9", "tag")
ARTIFACT = Artifact(source="5" * 64, digest="d" * 64)
HOME = PurePosixPath("/opt/constellation")


def image_of(layout: Layout, work: Path, layers: dict[str, list[Entry]], where: Platform = HERE) -> Image:
    """An image as workers make it, below and besides whose layers others lie."""
    made = []
    for number, (name, entries) in enumerate({"base": [Entry(PurePosixPath("/x"), source=b"")], **layers}.items()):
        said = "base" if name == "base" else f"constellation: {name}"
        layer = write_layer(entries, work / f"{number}", created_by=said)
        layout.add_file(layer.file, layer.descriptor)
        made.append(Stacked(layer.descriptor, layer.diff_id, said))
    image = compose(scratch(where), made, Start(["/run"], "1", "/"))
    layout.add_image(image)
    return image


def entries(minor: str = "3.11") -> dict[str, list[Entry]]:
    environment = HOME / "environment"
    return {
        "runner": [Entry(HOME / "runner" / "main.py", source=b"")],
        "environment": [
            Entry(environment / "bin" / "python", target=f"/usr/local/bin/python{minor}"),
            Entry(environment / "bin" / f"python{minor}", target="python"),
            Entry(environment / "bin" / "tool", source=b"#!/bin/sh", executable=True),
            Entry(environment / "lib64", target="lib"),
            Entry(environment / "lib" / "greetings.py", source=b"WORD = 1"),
            Entry(environment / "pyvenv.cfg", source=b"home = /usr/local/bin"),
        ],
        "algorithm": [
            Entry(HOME / "algorithm" / "src" / "hello.py", source=b"def apply(x): pass"),
            Entry(HOME / "algorithm" / "modules", target=str(environment / "lib")),
            Entry(HOME / "spec.json", source=b"{}"),
        ],
    }


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "data")


async def test_source_and_environment_are_made_for_this_machine_once(
    layout: Layout, folders: Folders, tmp_path: Path
) -> None:
    image = image_of(layout, tmp_path, entries())
    images = UnpackedImages(folders, layout, {ARTIFACT.digest: Source(image, PYTHON)})
    said: list[str] = []
    prepared = await images.prepare(ARTIFACT, Language.PYTHON, "joe", user="r", say=said.append)
    environment = prepared.environment
    assert environment is not None
    assert (prepared.tree / "src" / "hello.py").read_text() == "def apply(x): pass"
    assert not (prepared.tree / "spec.json").exists(), "that is the container's"
    assert (prepared.tree / "modules").readlink() == environment / "lib"
    assert (environment / "bin" / "python").readlink() == PYTHON.path
    assert (environment / "bin" / "python3.11").readlink() == Path("python")
    assert (environment / "bin" / "tool").stat().st_mode & 0o111
    assert (environment / "lib64" / "greetings.py").read_text() == "WORD = 1"
    assert "home = /here/bin\nversion = 3.11.9\n" in (environment / "pyvenv.cfg").read_text()

    again = await images.prepare(ARTIFACT, Language.PYTHON, "joe", user="s", say=said.append)
    assert again == prepared
    assert said == ["unpacking the environment\n"]


async def test_what_needs_another_machine_says_so(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of(layout, tmp_path, entries())
    assert (await unpacked.source(layout, image, Language.PYTHON, PYTHON)).python == PYTHON
    assert (await unpacked.source(layout, image, Language.PIPE, PYTHON)).python is None
    (tmp_path / "old").mkdir()
    old = image_of(layout, tmp_path / "old", entries("3.4"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        LanguageMissing, match=r"needs Python 3\.4, and this machine has 3\.11\.9; install python3\.4"
    ):
        await unpacked.source(layout, old, Language.PYTHON, PYTHON)
    (tmp_path / "far").mkdir()
    far = image_of(layout, tmp_path / "far", entries(), Platform(architecture="riscv64"))
    with pytest.raises(LanguageMissing, match=f"made for linux/riscv64, and this machine is {HERE}"):
        await unpacked.source(layout, far, Language.PYTHON, PYTHON)
    (tmp_path / "none").mkdir()
    none = entries()
    none["environment"] = none["environment"][2:3]
    with pytest.raises(BadArchive, match="has no Python"):
        await unpacked.source(layout, image_of(layout, tmp_path / "none", none), Language.PYTHON, PYTHON)


async def test_sources_have_a_limit_and_environments_none(
    layout: Layout, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_MEMBERS", 7)
    layers = entries()
    environment = [Entry(HOME / "environment" / "lib" / f"{number}.py", source=b"") for number in range(20)]
    layers["environment"] = [*layers["environment"], *environment]
    images = UnpackedImages(folders, layout, {ARTIFACT.digest: Source(image_of(layout, tmp_path, layers), PYTHON)})
    prepared = await images.prepare(ARTIFACT, Language.PYTHON, "joe", user="r", say=lambda _: None)
    assert prepared.environment is not None
    assert (prepared.environment / "lib" / "19.py").is_file()

    (tmp_path / "large").mkdir()
    source = [Entry(HOME / "algorithm" / f"{number}.py", source=b"") for number in range(20)]
    layers["algorithm"] = [*layers["algorithm"], *source]
    large = image_of(layout, tmp_path / "large", layers)
    images = UnpackedImages(folders, layout, {ARTIFACT.digest: Source(large, PYTHON)})
    with pytest.raises(BadArchive, match="more than 7 files"):
        await images.prepare(ARTIFACT, Language.PYTHON, "joe", user="r", say=lambda _: None)


@pytest.mark.parametrize(
    "bad",
    [
        Entry(HOME / "algorithm" / "out", target="/etc/passwd"),
        Entry(HOME / "algorithm" / "out", target="../../../etc/passwd"),
        Entry(HOME / "algorithm" / "out", target=f"{HOME}/environment/../../../etc/passwd"),
    ],
)
async def test_nothing_leads_out_of_an_unpacked_image(
    layout: Layout, folders: Folders, tmp_path: Path, bad: Entry
) -> None:
    layers = entries()
    layers["algorithm"] = [*layers["algorithm"], bad]
    image = image_of(layout, tmp_path, layers)
    images = UnpackedImages(folders, layout, {ARTIFACT.digest: Source(image, PYTHON)})
    with pytest.raises(BadArchive, match="outside of itself"):
        await images.prepare(ARTIFACT, Language.PYTHON, "joe", user="r", say=lambda _: None)
    assert not list(folders.trees.iterdir())
