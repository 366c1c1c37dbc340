"""Images put together: the layers of a base image, layers on top, and how a container is started. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from libs.common.oci.documents import (
    CONFIG,
    INDEXES,
    MANIFEST,
    MANIFESTS,
    OCI_TYPES,
    BadDocument,
    Descriptor,
    ImageConfig,
    Manifest,
    Platform,
    RootFS,
    describe,
)


@dataclass(frozen=True)
class Image:
    """A manifest and a config, with the very bytes that digests name."""

    manifest: Manifest
    manifest_bytes: bytes
    config: ImageConfig
    config_bytes: bytes

    @property
    def descriptor(self) -> Descriptor:
        return describe(self.manifest_bytes, self.manifest.media_type or MANIFEST)

    @property
    def platform(self) -> Platform:
        return Platform(architecture=self.config.architecture, os=self.config.os)

    @classmethod
    def read(cls, manifest: bytes, config: bytes) -> Image:
        """Raises BadDocument."""
        image = cls(Manifest.decode(manifest), manifest, ImageConfig.decode(config), config)
        layers, diff_ids = len(image.manifest.layers), len(image.config.rootfs.diff_ids)
        if layers != diff_ids:
            raise BadDocument(f"the image has {layers} layers, but its config names {diff_ids}")
        return image


@dataclass(frozen=True)
class Stacked:
    """A layer to be put on top of a base."""

    descriptor: Descriptor
    diff_id: str
    """Digest of the layer's tar archive before it was compressed."""
    created_by: str = ""
    """What made it, for people."""


@dataclass(frozen=True)
class Start:
    """How a container is started, and what the image says of itself. `environment` and `labels` are added to those
    of the base; all else takes the place of what the base has."""

    entrypoint: Sequence[str]
    user: str
    working_dir: str
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed: Sequence[str] = ()
    """Ports, such as `8080/tcp`."""
    stop_signal: str = "SIGTERM"


def compose(
    base: Image,
    layers: Sequence[Stacked],
    start: Start,
    *,
    annotations: Mapping[str, str] | None = None,
    epoch: int = 0,
) -> Image:
    """The image of `layers` on `base`. The same arguments always give the same bytes.

    Args:
        epoch: when it says that it was created, in seconds since 1970.
    """
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    below = base.config.history
    if below is None:
        below = [{"created": created, "created_by": "base"} for _ in base.manifest.layers]
    above = [{"created": created, "created_by": layer.created_by} for layer in layers]
    config = base.config.model_copy(
        update={
            "created": created,
            "config": _started(base.config.config, start),
            "rootfs": RootFS(diff_ids=[*base.config.rootfs.diff_ids, *(layer.diff_id for layer in layers)]),
            "history": [*below, *above],
        }
    ).encode()
    manifest = Manifest(
        config=describe(config, CONFIG),
        layers=[*map(_oci, base.manifest.layers), *(layer.descriptor for layer in layers)],
        annotations=annotations,
    ).encode()
    return Image.read(manifest, config)


def scratch(platform: Platform) -> Image:
    """An image with nothing in it, to build base images on."""
    config = ImageConfig(architecture=platform.architecture, os=platform.os).encode()
    return Image.read(Manifest(config=describe(config, CONFIG), layers=[]).encode(), config)


def is_index(media_type: str) -> bool:
    """Whether a document lists images for platforms. Raises BadDocument when it is neither that nor an image."""
    if media_type not in (*INDEXES, *MANIFESTS):
        raise BadDocument(f"'{media_type}' is no image: {MANIFEST} is")
    return media_type in INDEXES


def _started(base: Mapping[str, Any], start: Start) -> dict[str, Any]:
    environment = dict(line.partition("=")[::2] for line in base.get("Env") or ()) | dict(start.environment)
    config = {name: value for name, value in base.items() if name not in ("Healthcheck", "OnBuild", "ArgsEscaped")}
    config |= {
        "User": start.user,
        "WorkingDir": start.working_dir,
        "Entrypoint": list(start.entrypoint),
        "Cmd": list(start.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**(base.get("Labels") or {}), **start.labels},
        "ExposedPorts": {port: {} for port in start.exposed},
        "StopSignal": start.stop_signal,
    }
    return config


def _oci(layer: Descriptor) -> Descriptor:
    """A layer as OCI manifests name it: some tools refuse Docker's media types there."""
    return layer.model_copy(update={"media_type": OCI_TYPES.get(layer.media_type, layer.media_type)})
