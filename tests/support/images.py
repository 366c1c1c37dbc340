"""Base images for tests, in OCI layouts."""

from __future__ import annotations

import gzip
import hashlib
import platform
import shutil
from pathlib import Path, PurePosixPath

import httpx

from libs.common.oci import references
from libs.common.oci.documents import LAYER_GZIP, Descriptor, Platform, digest_of
from libs.common.oci.images import Stacked, Start, compose, scratch
from libs.common.oci.layers import Entry, write_layer
from libs.common.oci.layout import Layout
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, push

HERE = Platform.of(platform.machine())
VERSION = platform.python_version()
_FILE = PurePosixPath("/etc/base")


def python_base(folder: Path, archive: Path) -> Layout:
    """One with this machine's Python, from the tar archive of its root (see docker.py)."""
    packed = folder / "layer"
    with archive.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(plain, target)
    with archive.open("rb") as plain:
        diff_id = f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}"
    descriptor = Descriptor(media_type=LAYER_GZIP, digest=digest_of(packed.read_bytes()), size=packed.stat().st_size)
    return _layout(folder / "layout", packed, Stacked(descriptor, diff_id))


def hollow_base(folder: Path) -> Layout:
    """One that says that it has a Python, and has none: enough to put layers on."""
    layer = write_layer([Entry(_FILE, source=b"of the base")], folder / "layer")
    return _layout(folder / "layout", layer.file, layer.stacked)


async def pushed(layout: Layout, name: str, work: Path) -> str:
    """Push a layout's image to a registry without TLS. Gives its reference."""
    reference, source = references.parse(name), FromLayout(layout)
    async with httpx.AsyncClient(timeout=60) as http:
        registry = Registry(http, reference, plain_http=True)
        await push(await source.image(HERE), source, {}, registry, reference, work)
    return str(reference)


def _layout(folder: Path, file: Path, layer: Stacked) -> Layout:
    start = Start(["/bin/sh"], "root", "/", environment={"PYTHON_VERSION": VERSION, "KEPT": "yes"})
    layout = Layout.create(folder)
    layout.add_file(file, layer.descriptor)
    layout.add_image(compose(scratch(HERE), [layer], start), "python")
    return layout
