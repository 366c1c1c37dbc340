"""The signed part of a bundle: its files, and whether they are what the platform signed."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from constellation.bundle import signature
from constellation.bundle.problems import BundleProblem, Damaged, NoBundle, Untrusted
from libs.common.contracts.bundles import (
    IMAGES_FOLDER,
    PLAN_FILE,
    SECRETS_FILE,
    BundleFile,
    BundleIndex,
    SatelliteSecrets,
)
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci.layout import Layout

INDEX, SIGNATURE = "bundle.json", "bundle.jws"
_NAMED = 10
"""Faults that are told of at once."""


@dataclass(frozen=True)
class Content:
    """A bundle that was found whole. What is read of it later is checked again."""

    folder: Path
    index: BundleIndex
    sha256: str
    """Of the index: names the bundle."""
    thumbprint: str
    """Of the key that it is signed with."""

    def plan(self) -> SatellitePlan:
        """Raises Damaged, and BundleProblem for one that this release does not understand."""
        try:
            return SatellitePlan.model_validate_json(self._read(PLAN_FILE))
        except ValidationError as error:
            raise BundleProblem(f"{PLAN_FILE} is not for this release of Constellation: {first(error)}") from error

    def secrets(self) -> SatelliteSecrets:
        """Raises as `plan`."""
        try:
            return SatelliteSecrets.model_validate_json(self._read(SECRETS_FILE))
        except ValidationError as error:  # whose text could hold a secret
            raise BundleProblem(f"{SECRETS_FILE} is not for this release of Constellation") from error

    def layout(self) -> Layout:
        """The images. Raises LayoutMissing."""
        return Layout(self.folder / IMAGES_FOLDER)

    def _read(self, path: str) -> bytes:
        file = next(file for file in self.index.files if file.path == path)
        content = (self.folder / path).read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
            raise Damaged(f"{path} is damaged")
        return content


def verified(folder: Path, *, trusted: str | None = None) -> Content:
    """The bundle in a folder, once every byte of it was found to be what was signed, and nothing besides.

    Args:
        trusted: thumbprint of the only key that is good; None takes any that the signature is good with.

    Raises:
        NoBundle: there is none.
        Damaged: names each file that is damaged, missing, or not part of it.
        Untrusted: it is signed with another key.
    """
    if not folder.is_dir():
        raise missing(folder.parent)
    content = opened(folder)
    faults = [*_damages(folder, content.index), *_strangers(folder, content.index)]
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise Damaged("; ".join(faults[:_NAMED]) + more)
    if trusted is not None and content.thumbprint != trusted:
        raise Untrusted(f"the bundle is signed with the key {content.thumbprint}, not with {trusted}")
    return content


def missing(folder: Path) -> NoBundle:
    return NoBundle(f"there is no bundle in {folder}; fetch it with 'get KEY', or name its folder with --dir")


def opened(folder: Path) -> Content:
    """The bundle in a folder by its index and signature alone. Raises Damaged."""
    signed = signature.read(_present(folder, SIGNATURE), SIGNATURE)
    text = _present(folder, INDEX)
    return read(folder, text, signed)


def read(folder: Path, index: bytes, signed: signature.Signature) -> Content:
    """The bundle of an index. Raises Damaged when the signature is over another one."""
    if hashlib.sha256(index).hexdigest() != signed.sha256:
        raise Damaged(f"{INDEX} is damaged: it is not what {SIGNATURE} was made for")
    try:
        return Content(folder, BundleIndex.model_validate_json(index), signed.sha256, signed.thumbprint)
    except ValidationError as error:
        raise BundleProblem(f"{INDEX} is not for this release of Constellation: {first(error)}") from error


def fault(path: Path, file: BundleFile) -> str | None:
    """What is wrong with a file; None if it is whole."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return f"{file.path} is missing"
    if not stat.S_ISREG(found.st_mode):
        return f"{file.path} is damaged: it is no plain file"
    if found.st_size != file.size:
        return f"{file.path} is damaged: it has {found.st_size} bytes, not {file.size}"
    with path.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
            return f"{file.path} is damaged: its bytes are not what was signed"
    return None


def strangers(folder: Path, index: BundleIndex) -> list[str]:
    """Paths in the folder that are neither in the index nor folders of what is."""
    known = {INDEX, SIGNATURE, *(file.path for file in index.files)}
    folders = {str(parent) for path in known for parent in Path(path).parents}
    return [
        name
        for path in sorted(folder.rglob("*"))
        if (name := path.relative_to(folder).as_posix()) not in known
        and not (name in folders and path.is_dir() and not path.is_symlink())
    ]


def first(error: ValidationError) -> str:
    """What is wrong first, without the value."""
    one = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}"


def _damages(folder: Path, index: BundleIndex) -> Iterator[str]:
    return (found for file in index.files if (found := fault(folder / file.path, file)) is not None)


def _strangers(folder: Path, index: BundleIndex) -> Iterator[str]:
    return (f"{name} is no part of the bundle" for name in strangers(folder, index))


def _present(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{name} is missing") from None
