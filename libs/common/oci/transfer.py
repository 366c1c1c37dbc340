"""Whole images on their way between registries and layouts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.common.oci.documents import MANIFEST, Descriptor, Platform
from libs.common.oci.images import Image
from libs.common.oci.layout import Layout, link_or_copy
from libs.common.oci.references import ImageReference
from libs.common.oci.registry import Registry
from libs.common.oci.uploads import mount, push_blob


class Source(Protocol):
    """Where an image's blobs come from."""

    async def image(self, platform: Platform) -> Image:
        """Raises what the registry or layout raises."""

    async def fetch(self, descriptor: Descriptor, file: Path) -> None:
        """Write a blob to a new file, its digest checked. Raises as above."""

    def repository_at(self, registry: Registry) -> str | None:
        """The repository of a registry that has the image's blobs, if it is there."""


@dataclass(frozen=True)
class FromRegistry:
    """An image in a registry."""

    registry: Registry
    reference: ImageReference

    async def image(self, platform: Platform) -> Image:
        return await self.registry.image(self.reference.repository, self.reference.version, platform)

    async def fetch(self, descriptor: Descriptor, file: Path) -> None:
        await self.registry.pull_blob(self.reference.repository, descriptor, file)

    def repository_at(self, registry: Registry) -> str | None:
        return self.reference.repository if registry.base == self.registry.base else None


@dataclass(frozen=True)
class FromLayout:
    """An image in a layout: that of a name, or the only one."""

    layout: Layout
    name: str | None = None

    async def image(self, platform: Platform) -> Image:
        return await asyncio.to_thread(self.layout.image, platform, self.name)

    async def fetch(self, descriptor: Descriptor, file: Path) -> None:
        path = await asyncio.to_thread(self.layout.verify_blob, descriptor)
        await asyncio.to_thread(link_or_copy, path, file)

    def repository_at(self, registry: Registry) -> str | None:  # noqa: ARG002 - it is in none
        return None


async def push(
    image: Image, base: Source, made: Mapping[str, Path], registry: Registry, reference: ImageReference, work: Path
) -> str:
    """Push an image: blobs first, then its manifest under the reference's tag, or `latest`. Gives its digest.

    Args:
        made: files of blobs by digest; `base` has all others.
        work: folder for blobs that pass through.

    Raises problems of either registry, DigestMismatch and LayoutMissing.
    """
    repository, beside = reference.repository, base.repository_at(registry)
    for descriptor in image.manifest.layers:
        if await registry.has_blob(repository, descriptor.digest):
            continue
        if descriptor.digest in made:
            await push_blob(registry, repository, descriptor, made[descriptor.digest])
        elif beside is None or not await mount(registry, repository, descriptor.digest, beside):
            async with _fetched(base, descriptor, work) as file:
                await push_blob(registry, repository, descriptor, file)
    async with _written(image.config_bytes, work) as file:
        await push_blob(registry, repository, image.manifest.config, file)
    media_type = image.manifest.media_type or MANIFEST
    version = reference.tag or reference.version
    return await registry.put_manifest(repository, version, media_type, image.manifest_bytes)


async def save(
    image: Image, source: Source, made: Mapping[str, Path], layout: Layout, name: str | None, work: Path
) -> str:
    """Write an image to a layout, under a name. Gives the manifest's digest. Arguments and problems as for `push`."""
    for descriptor in image.manifest.layers:
        if descriptor.digest in made:
            await asyncio.to_thread(layout.add_file, made[descriptor.digest], descriptor)
        elif not layout.path(descriptor.digest).exists():
            async with _fetched(source, descriptor, work) as file:
                await asyncio.to_thread(layout.add_file, file, descriptor)
    await asyncio.to_thread(layout.add_image, image, name)
    return image.descriptor.digest


@asynccontextmanager
async def _fetched(source: Source, descriptor: Descriptor, work: Path) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(dir=work, prefix="blob-") as folder:
        file = Path(folder) / "blob"
        await source.fetch(descriptor, file)
        yield file


@asynccontextmanager
async def _written(content: bytes, work: Path) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(dir=work, prefix="blob-") as folder:
        file = Path(folder) / "blob"
        file.write_bytes(content)
        yield file
