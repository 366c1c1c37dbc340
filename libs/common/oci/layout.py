"""Images in a folder: the OCI image layout (image-layout.md of the image specification), which most tools read."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from libs.common.oci.documents import (
    REF_NAME,
    BadDocument,
    Descriptor,
    DigestMismatch,
    Index,
    Manifest,
    Platform,
    check,
)
from libs.common.oci.images import Image, is_index

_MARK = "oci-layout"
MARK_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX = "index.json"
_BLOBS = Path("blobs", "sha256")
_MAX_DOCUMENT = 4 << 20


class LayoutMissing(LookupError):
    """There is no layout, or no such image or blob in it; the text says where."""


class Layout:
    """A layout in an existing folder. All methods block."""

    def __init__(self, folder: Path) -> None:
        """Raises LayoutMissing."""
        if not (folder / _MARK).is_file():
            raise LayoutMissing(f"{folder} is no OCI image layout: it has no file {_MARK}")
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Layout:
        """The layout in a folder, which is made where it is missing."""
        (folder / _BLOBS).mkdir(parents=True, exist_ok=True)
        if not (folder / _INDEX).exists():
            (folder / _INDEX).write_bytes(Index().encode())
        (folder / _MARK).write_bytes(MARK_CONTENT)
        return cls(folder)

    @classmethod
    def unpack(cls, archive: Path, folder: Path) -> Layout:
        """The layout in a tar archive, unpacked into a new folder. Raises LayoutMissing and BadDocument."""
        try:
            with tarfile.open(archive) as members:
                members.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise BadDocument(f"{archive} cannot be unpacked as an OCI image layout: {error}") from error
        return cls(folder)

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.folder / _BLOBS / digest.removeprefix("sha256:")

    def add(self, content: bytes, digest: str) -> None:
        """Keep a small blob."""
        self._replace(self.path(digest), content)

    def add_file(self, file: Path, descriptor: Descriptor) -> None:
        """Keep a file's bytes: a further name of the same file where the folder allows that, else a copy."""
        target = self.path(descriptor.digest)
        if target.exists():
            return
        temporary = target.with_name(f".{uuid4().hex}")
        try:
            link_or_copy(file, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def add_image(self, image: Image, name: str | None = None) -> None:
        """Keep the documents of an image whose layers are here. It takes the name from another image that has it."""
        self.add(image.config_bytes, image.manifest.config.digest)
        self.add(image.manifest_bytes, image.descriptor.digest)
        index = Index.decode((self.folder / _INDEX).read_bytes())
        named = {REF_NAME: name} if name else None
        added = image.descriptor.model_copy(update={"platform": image.platform, "annotations": named})
        kept = [one for one in index.manifests if _name(one) != name or (name is None and one != added)]
        self._replace(self.folder / _INDEX, index.model_copy(update={"manifests": [*kept, added]}).encode())

    def read(self, descriptor: Descriptor) -> bytes:
        """A document. Raises LayoutMissing, DigestMismatch and BadDocument."""
        if descriptor.size > _MAX_DOCUMENT:
            raise BadDocument(f"{self.folder}: {descriptor.digest} is too large for a document")
        return check(self._open(descriptor.digest), descriptor.digest, str(self.folder))

    def image(self, platform: Platform, name: str | None = None) -> Image:
        """The image of a name, or the only one where none is given, for a platform.

        Raises LayoutMissing, DigestMismatch and BadDocument.
        """
        index = Index.decode((self.folder / _INDEX).read_bytes())
        found = [one for one in index.manifests if name is None or _name(one) == name]
        if not found:
            names = ", ".join(sorted(filter(None, map(_name, index.manifests)))) or "none with a name"
            raise LayoutMissing(f"{self.folder} holds no image '{name or ''}'; it holds {names}")
        descriptor = found[0] if len(found) == 1 else index.model_copy(update={"manifests": found}).choose(platform)
        while is_index(descriptor.media_type):
            descriptor = Index.decode(self.read(descriptor)).choose(platform)
        manifest = self.read(descriptor)
        return Image.read(manifest, self.read(Manifest.decode(manifest).config))

    def image_of(self, digest: str) -> Image:
        """The image with a manifest's digest. Raises LayoutMissing, DigestMismatch and BadDocument."""
        manifest = check(self._open(digest), digest, str(self.folder))
        return Image.read(manifest, self.read(Manifest.decode(manifest).config))

    def verify(self) -> None:
        """Read every blob that an image here needs. Raises LayoutMissing, DigestMismatch and BadDocument."""
        for descriptor in self._all(Index.decode((self.folder / _INDEX).read_bytes())):
            self.verify_blob(descriptor)

    def verify_blob(self, descriptor: Descriptor) -> Path:
        """Where a blob is, whose bytes are as long as they should be and what the digest names."""
        path = self.path(descriptor.digest)
        if not path.is_file():
            raise LayoutMissing(f"{self.folder} lacks the blob {descriptor.digest}")
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != descriptor.digest or path.stat().st_size != descriptor.size:
            raise DigestMismatch(
                f"{path}: the blob {descriptor.digest} of {descriptor.size} bytes is damaged: it has"
                f" {path.stat().st_size} bytes and the digest {found}"
            )
        return path

    def _all(self, index: Index) -> Iterator[Descriptor]:
        for descriptor in index.manifests:
            yield descriptor
            if is_index(descriptor.media_type):
                yield from self._all(Index.decode(self.read(descriptor)))
            else:
                manifest = Manifest.decode(self.read(descriptor))
                yield from (manifest.config, *manifest.layers)

    def _open(self, digest: str) -> bytes:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise LayoutMissing(f"{self.folder} lacks the blob {digest}") from None

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        """Readers see the old content or the new one, never a part."""
        temporary = path.with_name(f".{uuid4().hex}")
        temporary.write_bytes(content)
        temporary.replace(path)


def _name(descriptor: Descriptor) -> str | None:
    return (descriptor.annotations or {}).get(REF_NAME)


def link_or_copy(source: Path, target: Path) -> None:
    """A further name of a file, or a copy where the folders are not on one disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
