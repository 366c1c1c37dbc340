"""Where the bytes are that a URL names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from libs.common.blobs import BlobMissing, Blobs, Objects


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", [Path.as_uri, str])
async def test_a_folder_may_have_any_name(tmp_path: Path, url: Callable[[Path], str]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"bytes"

    folder = tmp_path / "lab #3? 100% é" / "blobs"
    digest = await Blobs(url(folder)).put(b"bytes")
    objects, name = Objects(url(folder), "data"), uuid4()
    await objects.put(name, chunks())
    written = files_in(tmp_path)
    assert {path.name for path in written} == {digest, name.hex}
    assert all(path.is_relative_to(folder) for path in written)
    part = folder / "data" / name.hex[:2] / f"{name.hex}#1"
    part.touch()
    await objects.remove(name)
    assert not part.exists()
    with pytest.raises(BlobMissing):
        await objects.open(name)
