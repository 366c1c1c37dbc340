"""The JSON documents of the OCI image specification, as far as they are used here, and their media types. Pure.

What a document has besides is kept as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (INDEX, DOCKER_INDEX)
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
OCI_TYPES = {
    DOCKER_INDEX: INDEX,
    DOCKER_MANIFEST: MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
}
"""What Docker's own media types are called in OCI documents: the bytes are the same."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
REF_NAME = "org.opencontainers.image.ref.name"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

D = TypeVar("D", bound="Document")


class BadDocument(ValueError):
    """A document is not what its media type says, or of a kind that cannot be used; the text says how."""


class DigestMismatch(ValueError):
    """Bytes are not those that their digest names; the text says which and where."""


class Document(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True, frozen=True)

    def encode(self) -> bytes:
        """The same document always gives the same bytes."""
        members = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls: type[D], content: bytes) -> D:
        """Raises BadDocument."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "document"
            raise BadDocument(f"this is no {cls.__name__} of an image: {where}: {first['msg']}") from None


class Platform(Document):
    architecture: str
    os: str = "linux"
    variant: str | None = None

    @classmethod
    def of(cls, machine: str) -> Platform:
        """Linux on a machine, as `uname -m` calls it."""
        return cls(architecture=_ARCHITECTURES.get(machine, machine))

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(Document):
    """Names content: what it is, how long, and its digest."""

    media_type: str
    digest: str = Field(pattern=DIGEST_PATTERN)
    size: int = Field(ge=0)
    annotations: Mapping[str, str] | None = None
    platform: Platform | None = None


class Index(Document):
    schema_version: int = 2
    media_type: str | None = INDEX
    manifests: Sequence[Descriptor] = ()

    def choose(self, platform: Platform) -> Descriptor:
        """The manifest for a platform; one of another variant only where none is named. Raises BadDocument."""
        known = [one for one in self.manifests if one.platform is not None]
        for one in known:
            offered = one.platform
            if (
                offered is not None
                and (offered.os, offered.architecture) == (platform.os, platform.architecture)
                and (platform.variant is None or offered.variant in (None, platform.variant))
            ):
                return one
        if not known and len(self.manifests) == 1:
            return self.manifests[0]
        offered_here = ", ".join(str(one.platform) for one in known) or "none that it names"
        raise BadDocument(f"the image is not made for {platform}; its platforms are: {offered_here}")


class Manifest(Document):
    schema_version: int = 2
    media_type: str | None = MANIFEST
    config: Descriptor
    layers: Sequence[Descriptor]
    annotations: Mapping[str, str] | None = None


class RootFS(Document):
    type: str = "layers"
    diff_ids: Sequence[str] = Field(default=(), alias="diff_ids")


class ImageConfig(Document):
    """What a container of the image is started with (`config`), and of what its root is put together."""

    architecture: str
    os: str = "linux"
    created: str | None = None
    config: Mapping[str, Any] = Field(default_factory=dict)
    rootfs: RootFS = Field(default_factory=RootFS)
    history: Sequence[Mapping[str, Any]] | None = None


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def describe(content: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))


def check(content: bytes, digest: str, where: str) -> bytes:
    """The content, if it is what the digest names. Raises DigestMismatch; `where` says whose it is."""
    if (found := digest_of(content)) != digest:
        raise DigestMismatch(f"{where}: the bytes of {digest} are damaged: they have the digest {found}")
    return content
