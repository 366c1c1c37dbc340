from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from constellation.api import Api
from constellation.bundle import download
from constellation.bundle.download import Fetched
from constellation.bundle.folder import BundleFolder
from tests.support.bundles import LAUNCH, SATELLITE, Mothership

Get = Callable[..., Fetched]


@pytest.fixture
async def mothership(tmp_path: Path) -> Mothership:
    """With a bundle to offer."""
    found = Mothership(tmp_path / "store")
    await found.offer()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> BundleFolder:
    return BundleFolder(tmp_path / "folder")


@pytest.fixture
def get(mothership: Mothership, folder: BundleFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Get]:
    """What the command does."""
    monkeypatch.setattr(download, "PAUSES", (0.0,))
    monkeypatch.setattr(download, "LOOK_SECONDS", 0.0)

    with Api("http://mothership", "key", transport=mothership) as api:

        def fetch(trusted: str | None = None, satellite: object = SATELLITE, seconds: float = 60.0) -> Fetched:
            with folder.locked(make=True):
                found = download.get(
                    api,
                    folder,
                    str(satellite),
                    str(LAUNCH),
                    trusted=trusted,
                    seconds=seconds,
                    say=said.append,
                )
                folder.origin = {"url": "http://mothership", "key": found.content.thumbprint}
            return found

        said: list[str] = []
        fetch.said = said  # type: ignore[attr-defined] # for the one test that looks at it
        yield fetch
