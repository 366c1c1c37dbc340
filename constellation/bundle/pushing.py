"""A bundle's images in the registry of whoever runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from constellation.bundle.configuration import Stage
from constellation.bundle.content import Content
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci import credentials
from libs.common.oci.problems import NotInRegistry
from libs.common.oci.references import ImageReference
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, push

Say = Callable[[str], None]
SECONDS = 60.0
GATEWAY_IMAGE = "execution-engine"


@dataclass(frozen=True)
class Pushed:
    """References by digest, of everything that a plan names."""

    references: Mapping[str, str]
    new: int
    """Of them were not there."""


async def push_all(content: Content, plan: SatellitePlan, stage: Stage, work: Path, say: Say) -> Pushed:
    """See that the registry has all images; what it has of them already is not sent.

    Args:
        work: folder for blobs that pass through, on the disk of the bundle.

    Raises RegistryProblem, CredentialsUnusable; LayoutMissing, DigestMismatch, BadDocument for a damaged bundle.
    """
    names = dict.fromkeys(plan.images.values(), f"satellite-{plan.order.satellite_id}")
    if plan.gateway_image is not None:
        names[plan.gateway_image] = GATEWAY_IMAGE
    references: dict[str, str] = {}
    new = 0
    async with httpx.AsyncClient(timeout=SECONDS) as http:
        for number, (digest, name) in enumerate(names.items(), start=1):
            place = stage.repository(name)
            known = credentials.configured(place.registry)
            registry = Registry(http, place, credentials=known, plain_http=stage.is_plain)
            if not await _has(registry, place.repository, digest):
                say(f"pushing image {number} of {len(names)} to {place}")
                await _push(content, registry, place, digest, work)
                new += 1
            references[digest] = str(ImageReference(place.registry, place.repository, digest=digest))
    return Pushed(references, new)


async def _has(registry: Registry, repository: str, digest: str) -> bool:
    """A registry takes a manifest when it has all that this names."""
    try:
        await registry.manifest(repository, digest)
    except NotInRegistry:
        return False
    return True


async def _push(content: Content, registry: Registry, place: ImageReference, digest: str, work: Path) -> None:
    layout = content.layout()
    tagged = ImageReference(place.registry, place.repository, tag=digest.removeprefix("sha256:")[:12])
    with tempfile.TemporaryDirectory(dir=work, prefix="push-") as folder:
        await push(layout.image_of(digest), FromLayout(layout), {}, registry, tagged, Path(folder))
