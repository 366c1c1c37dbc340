"""Bundles of launches: a satellite to carry away (`contracts/bundles.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from pydantic import BaseModel

from libs.common.blobs import Blobs
from libs.common.contracts.bundles import (
    BLOBS_FOLDER,
    IMAGES_INDEX_FILE,
    IMAGES_MARK_FILE,
    PLAN_FILE,
    SECRETS_FILE,
    BundleFile,
    BundleIndex,
    SatelliteSecrets,
)
from libs.common.contracts.launches import LaunchOrder
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci.documents import REF_NAME, Descriptor, Index, Manifest
from libs.common.oci.images import Image
from libs.common.oci.layout import MARK_CONTENT

GATEWAY_NAME = "constellation/gateway"


@dataclass(frozen=True)
class Packed:
    """All of a bundle but its blobs and its signature."""

    index: str
    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.index.encode()).hexdigest()


async def pack(plan: SatellitePlan, secrets: SatelliteSecrets, blobs: Blobs) -> Packed:
    """The bundle of a plan, whose images are all made. The same arguments give the same bytes.

    Raises BlobMissing, BlobCorrupt when the store lost something of an image.
    """
    images = {name: await _image(blobs, digest) for name, digest in _names(plan).items()}
    files = {
        PLAN_FILE: document(plan),
        SECRETS_FILE: document(secrets),
        IMAGES_INDEX_FILE: Index(
            manifests=[
                image.descriptor.model_copy(update={"platform": image.platform, "annotations": {REF_NAME: name}})
                for name, image in sorted(images.items())
            ]
        )
        .encode()
        .decode(),
        IMAGES_MARK_FILE: MARK_CONTENT.decode(),
    }
    named = [_small(path, content) for path, content in files.items()] + _blobs(list(images.values()))
    order = plan.order
    index = BundleIndex(
        satellite_id=order.satellite_id,
        satellite=order.satellite,
        satellite_version=order.satellite_version,
        launch_id=order.launch_id,
        launch=order.name,
        deployment_id=order.deployment_id,
        files=tuple(sorted(named, key=lambda file: file.path)),
    )
    return Packed(document(index, indented=True), files)


def named(sentences: Iterable[str], order: LaunchOrder) -> list[str]:
    """Sentences on images, with the names of the algorithms instead of the ids of their revisions."""
    found = list(sentences)
    for entry in order.entries:
        found = [one.replace(f"revision {entry.revision_id}", entry.algorithm) for one in found]
    return found


def document(content: BaseModel, *, indented: bool = False) -> str:
    """The same content always gives the same text."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indented else 0)
    return orjson.dumps(content.model_dump(mode="json"), option=options).decode()


def _names(plan: SatellitePlan) -> dict[str, str]:
    """Digests of images by the name that people see of them."""
    names = {
        f"{entry.owner}/{entry.name}:{entry.commit}".lower(): plan.images[str(entry.revision_id)]
        for entry in plan.order.entries
    }
    if plan.gateway_image is not None:
        names[GATEWAY_NAME] = plan.gateway_image
    return names


async def _image(blobs: Blobs, digest: str) -> Image:
    manifest = await blobs.get(digest.removeprefix("sha256:"))
    config = await blobs.get(Manifest.decode(manifest).config.digest.removeprefix("sha256:"))
    return Image.read(manifest, config)


def _small(path: str, content: str) -> BundleFile:
    data = content.encode()
    return BundleFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _blobs(images: Sequence[Image]) -> list[BundleFile]:
    """Each once: images share layers."""
    found: dict[str, Descriptor] = {}
    for image in images:
        for descriptor in (image.descriptor, image.manifest.config, *image.manifest.layers):
            found[descriptor.digest.removeprefix("sha256:")] = descriptor
    return [
        BundleFile(path=f"{BLOBS_FOLDER}/{digest}", size=descriptor.size, sha256=digest)
        for digest, descriptor in found.items()
    ]
