"""Base images for tests, in OCI layouts, and containers of images of algorithms."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import http.client
import platform
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

import httpx
import pytest

from libs.common.oci import references
from libs.common.oci.documents import LAYER_GZIP, Descriptor, Platform, digest_of
from libs.common.oci.images import Stacked, Start, compose, scratch
from libs.common.oci.layers import Entry, write_layer
from libs.common.oci.layout import Layout
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, push
from tests.support.docker import Docker
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.replica import Caller

HERE = Platform.of(platform.machine())
VERSION = platform.python_version()
TOKEN = "a token of the replica's"
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


@asynccontextmanager
async def container(docker: Docker, image: str, *options: str) -> AsyncIterator[tuple[str, Caller]]:
    """A container that has loaded its algorithm, and a connection to it. It may write to /tmp alone."""
    (port,) = free_ports(1)
    name = f"replica-{uuid4().hex[:8]}"
    confined = ["--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL"]
    confined += ["--security-opt", "no-new-privileges", "--network", "host"]
    settings = ["--env", f"PORT={port}", "--env", f"REPLICA_TOKEN={TOKEN}"]
    command = ["run", "--detach", "--name", name, *confined, *settings, *options, image]
    caller = Caller(http.client.HTTPConnection("127.0.0.1", port, timeout=120))
    try:
        await asyncio.to_thread(docker.run, *command)

        def is_ready() -> bool:
            running = docker.run("inspect", "--format", "{{.State.Running}}", name)
            assert running == "true" or pytest.fail(docker.run("logs", name))
            try:
                return caller.call("ready?", headers={"x-replica-token": TOKEN}).status == 200
            except OSError:
                caller.close()
                return False

        await eventually(lambda: asyncio.to_thread(is_ready))
        yield name, caller
    finally:
        caller.close()
        await asyncio.to_thread(docker.run, "rm", "--force", name)


def _layout(folder: Path, file: Path, layer: Stacked) -> Layout:
    start = Start(["/bin/sh"], "root", "/", environment={"PYTHON_VERSION": VERSION, "KEPT": "yes"})
    layout = Layout.create(folder)
    layout.add_file(file, layer.descriptor)
    layout.add_image(compose(scratch(HERE), [layer], start), "python")
    return layout
