"""The folder of one satellite's bundle, which may be copied to another machine as it is.

bundle/              the signed content, which `get` replaces as a whole
incoming/            what `get` has of the next one
configuration.json   what `configure` set
origin.json          the platform that it came from, and the key that it signed with
report.json          the credential for reports to that platform
data/                what `run` needs while it runs
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from constellation.bundle import content, notes
from constellation.bundle.content import Content
from constellation.bundle.problems import BundleProblem, Busy

USUAL = Path("deployment", "current", "satellite")
"""Where bundles are, from the current folder. For who works in `/home/algo`, that is where they always were."""


class BundleFolder:
    """Paths and files."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.content = self.path / "bundle"
        self.incoming = self.path / "incoming"
        self.data = self.path / "data"
        self._outgoing = self.path / "outgoing"

    @classmethod
    def of(cls, satellite_id: str, launch_id: str, given: Path | None = None) -> BundleFolder:
        """The folder that was named, or the usual one."""
        return cls(given or USUAL / satellite_id / launch_id)

    @contextmanager
    def locked(self, *, make: bool = False) -> Iterator[None]:
        """For one command at a time. What a `get` that was killed left half done is put right first.

        Args:
            make: the folder, where it is missing.

        Raises Busy, and NoBundle where there is no folder.
        """
        if make:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o711)  # users of sandboxes pass to `data`
        elif not self.path.is_dir():
            raise content.missing(self.path)
        with _held(self.path / "lock", Busy(f"another command works with {self.path}; wait for its end")):
            self._recover()
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """For one `run` at a time, whose `data` is. Other commands go on meanwhile. Raises Busy."""
        self.data.mkdir(exist_ok=True, mode=0o711)  # users of sandboxes pass
        with _held(self.data / "lock", Busy(f"the satellite runs from {self.path} already; stop it first")):
            yield

    def verified(self, satellite_id: str, launch_id: str, *, trusted: str | None = None) -> Content:
        """The bundle, and everything beside it, checked. Raises what `content.verified` does; Damaged for notes."""
        origin = self.origin
        found = content.verified(self.content, trusted=trusted or origin.get("key"))
        if (str(found.index.satellite_id), str(found.index.launch_id)) != (satellite_id.lower(), launch_id.lower()):
            raise BundleProblem(
                f"the bundle in {self.path} is of satellite {found.index.satellite_id} and launch"
                f" {found.index.launch_id}; name these, or another folder with --dir"
            )
        _ = self.configuration, self.report
        return found

    def take(self, fresh: Content) -> Content:
        """Put what has come, and was found whole, in the place of what was there."""
        if self.content.exists():
            self.content.rename(self._outgoing)
        fresh.folder.rename(self.content)
        shutil.rmtree(self._outgoing, ignore_errors=True)
        return Content(self.content, fresh.index, fresh.sha256, fresh.thumbprint)

    @property
    def origin(self) -> dict[str, Any]:
        """`url` of the platform and `key`, the thumbprint of its signing key."""
        return notes.read(self.path / "origin.json")

    @origin.setter
    def origin(self, said: dict[str, Any]) -> None:
        notes.write(self.path / "origin.json", said)

    @property
    def configuration(self) -> dict[str, Any]:
        return notes.read(self.path / "configuration.json")

    @configuration.setter
    def configuration(self, said: dict[str, Any]) -> None:
        notes.write(self.path / "configuration.json", said)

    @property
    def report(self) -> dict[str, Any]:
        """`key`, the mandate key of its reports."""
        return notes.read(self.path / "report.json")

    @report.setter
    def report(self, said: dict[str, Any]) -> None:
        notes.write(self.path / "report.json", said)

    def _recover(self) -> None:
        """Between its two names there is a moment without a bundle, in which its command may have ended."""
        if self._outgoing.exists():
            if self.content.exists():
                shutil.rmtree(self._outgoing)
            else:
                self._outgoing.rename(self.content)


@contextmanager
def _held(file: Path, busy: Busy) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(descriptor)
