"""A base image of the machine's own Python, where no registry can be reached."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from libs.common.contracts.identity import Wire
from services.worker import image_maker, machine_base, toolchain
from services.worker.images import minor
from tests.service.worker.platform_double import Platform
from tests.service.worker.test_image_jobs import ended, kept, subject
from tests.support.images import HERE
from tests.support.ports import free_ports

OWN = Path(getattr(sys, "_base_executable", sys.executable))
ASK = "import ctypes, getpass, json, socket, sqlite3, ssl, sys; print(sys.version.split()[0], getpass.getuser())"


class Made(Wire):
    digest: str
    layer: Path


async def made(folder: Path) -> Made:
    layout = await machine_base.make(await toolchain.interpreter(OWN), folder)
    image = layout.image(HERE, machine_base.NAME)
    layout.verify()
    return Made(digest=image.descriptor.digest, layer=layout.path(image.manifest.layers[0].digest))


def _asked(root: Path, python: str) -> str:
    command = ["/usr/sbin/chroot", "--userspec=65532:65532", str(root), python, "-I", "-c", ASK]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root folder")
async def test_its_python_works_on_its_own_and_it_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    first, again = await made(tmp_path / "first"), await made(tmp_path / "again")
    assert first.digest == again.digest
    root = tmp_path / "root"
    with tarfile.open(first.layer) as layer:
        layer.extractall(root, filter="tar")
    for name in ("python", f"python{minor(sys.version)}"):
        assert _asked(root, f"/usr/local/bin/{name}") == f"{sys.version.split()[0]} nonroot\n"


async def test_it_takes_the_place_of_the_usual_base_when_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(image_maker, "USUAL_BASE", f"127.0.0.1:{port}/python:{{}}-slim")
    async with Platform() as platform:
        of = subject(platform)
        async with platform.worker(tmp_path / "worker"):
            work = await platform.image(of)
            image = kept(platform, await ended(work))
        assert work.result is not None
        assert (work.result.base or "").startswith("machine@sha256:")
        async with platform.worker(tmp_path / "other", image_base="machine"):
            assert kept(platform, await ended(await platform.image(of))) == image
