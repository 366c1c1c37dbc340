"""Images that a worker makes for the platform, and pushes: its jobs, and what happens when something is gone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from libs.common.contracts.catalog import Artifact, Language
from libs.common.contracts.images import ImageSubject
from libs.common.contracts.jobs import ImageRequested, image_queue
from libs.common.oci import references
from libs.common.oci.credentials import Credentials
from libs.common.oci.documents import Manifest
from libs.common.oci.images import Image
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout
from tests.service.worker.platform_double import Platform
from tests.service.worker.registry_double import COMMIT, OWNER, ImageWork
from tests.support.docker_registry import BCRYPT, PASSWORD, DockerRegistry
from tests.support.eventually import eventually
from tests.support.images import HERE, hollow_base, pushed
from tests.support.ports import free_ports

PIPE = {"bin/pipe": "#!/bin/sh\n"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> FromLayout:
    return FromLayout(hollow_base(tmp_path_factory.mktemp("base")))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path / "registry") as server:
        yield server


@pytest.fixture
async def base_there(base: FromLayout, registry: DockerRegistry, tmp_path: Path) -> str:
    """The base's reference in the registry."""
    return await pushed(base.layout, f"{registry.host}/base/python:hollow", tmp_path)


def subject(platform: Platform) -> ImageSubject:
    """A revision that needs no environment."""
    source = platform.source(PIPE, programs=("bin/pipe",))
    artifact = Artifact(source=source, digest=source)
    return ImageSubject(
        revision_id=uuid4(), owner=OWNER, name="hello", commit=COMMIT, language=Language.PIPE, artifact=artifact
    )


async def ended(work: ImageWork) -> str:
    """The digest that it ended with."""
    result = await eventually(lambda: work.result)
    assert result is not None
    assert result.digest is not None, result.reason
    return result.digest


async def failed(work: ImageWork) -> str:
    """The reason that it ended with."""
    result = await eventually(lambda: work.result, 240)
    assert result is not None
    assert result.digest is None
    assert result.reason is not None
    return result.reason


def kept(platform: Platform, digest: str) -> Image:
    """An image, all of whose blobs are with the platform."""

    def blob(digest: str) -> bytes:
        return platform.blobs[digest.removeprefix("sha256:")]

    manifest = Manifest.decode(blob(digest))
    assert [len(blob(one.digest)) for one in manifest.layers] == [one.size for one in manifest.layers]
    return Image.read(blob(digest), blob(manifest.config.digest))


async def test_an_image_is_kept_whole_and_is_the_same_the_next_time(base: FromLayout, tmp_path: Path) -> None:
    async with Platform() as platform:
        of = subject(platform)
        async with platform.worker(tmp_path / "a", image_base=str(base.layout.folder)) as worker:
            work = await platform.image(of)
            digest = await ended(work)
            assert [(one.worker, one.platform) for one in work.claims] == [(worker.worker_id, str(HERE))]
        assert work.result is not None
        below = await base.image(HERE)
        assert work.result.base == f"{base.layout.folder}@{below.descriptor.digest}"
        image = kept(platform, digest)
        assert [one.digest for one in image.manifest.layers[:1]] == [one.digest for one in below.manifest.layers]
        assert len(image.manifest.layers) == 3
        assert image.config.config["Labels"]["org.opencontainers.image.title"] == "joe/hello"
        written = list(platform.blob_writes)
        async with platform.worker(tmp_path / "b", image_base=str(base.layout.folder)):
            assert await ended(await platform.image(of)) == digest
        again = platform.blob_writes[len(written) :]
        assert {f"sha256:{one}" for one in again} == {digest, image.manifest.config.digest}, "no layer twice"
        assert not list((tmp_path / "b" / "work").iterdir())


async def test_a_base_that_cannot_be_had_is_named_with_its_setting(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    empty = tmp_path / "empty"
    empty.mkdir()
    async with Platform() as platform:
        of = subject(platform)
        for base, said in (
            (f"127.0.0.1:{port}/python:3", f"the registry at https://127.0.0.1:{port} cannot be reached"),
            (str(empty), "is no OCI image layout"),
            ("No Image", "is no part of a repository's name"),
        ):
            async with platform.worker(tmp_path / "worker", image_base=base):
                reason = await failed(await platform.image(of))
            assert reason.startswith(f"the base image {base} cannot be used: ")
            assert said in reason
            assert "set CONSTELLATION_IMAGE_BASE" in reason


async def test_an_environment_that_cannot_be_made_and_what_takes_too_long_fail(
    base: FromLayout, base_there: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    async with Platform() as platform:
        of = subject(platform)
        broken = of.model_copy(update={"artifact": Artifact(source=platform.put(b"no archive"), digest="d" * 64)})
        async with platform.worker(tmp_path / "a", image_base=str(base.layout.folder)):
            assert "archive" in await failed(await platform.image(broken))
        async with platform.worker(tmp_path / "b", image_base=base_there, image_plain_http=(registry.host,)):
            registry.freeze()
            try:
                assert await failed(await platform.image(of, timeout_seconds=0.6)) == (
                    "it did not end within 0.01 minutes"
                )
            finally:
                registry.thaw()


async def test_one_whose_lease_is_lost_is_dropped(base_there: str, registry: DockerRegistry, tmp_path: Path) -> None:
    async with Platform() as platform:
        of = subject(platform)
        async with platform.worker(tmp_path / "a", image_base=base_there, image_plain_http=(registry.host,)):
            registry.freeze()
            try:
                lost, other = await platform.image(of), await platform.image(of)
                await eventually(lambda: lost.renewals > 1)
                assert not other.claims, "one at a time"
                lost.lost = True
                await eventually(lambda: other.claims)
            finally:
                registry.thaw()
            await ended(other)
        assert lost.result is None


async def test_a_worker_that_ends_leaves_it_to_another_one(
    base_there: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    async with Platform() as platform:
        registry.freeze()
        try:
            async with platform.worker(tmp_path / "a", image_base=base_there, image_plain_http=(registry.host,)):
                work = await platform.image(subject(platform))
                await eventually(lambda: work.claims)
        finally:
            registry.thaw()
        assert work.result is None
        work.claims.clear()  # as the registry takes back what a worker had that fell silent
        await platform.bus.send(image_queue(str(HERE)), ImageRequested(image_id=work.spec.id))
        async with platform.worker(tmp_path / "b", image_base=base_there, image_plain_http=(registry.host,)):
            kept(platform, await ended(work))


async def test_one_goes_on_when_the_registry_service_is_back(
    base_there: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    plain = (registry.host,)
    async with Platform() as platform, platform.worker(tmp_path, image_base=base_there, image_plain_http=plain):
        registry.freeze()
        try:
            work = await platform.image(subject(platform))
            await eventually(lambda: work.claims)
            platform.registry_is_up = False
        finally:
            registry.thaw()
        await eventually(lambda: platform.refused)
        platform.registry_is_up = True
        kept(platform, await ended(work))


async def test_images_are_left_to_others_where_settings_say_so(base: FromLayout, tmp_path: Path) -> None:
    async with Platform() as platform:
        async with platform.worker(tmp_path / "a", make_images=False) as worker:
            work = await platform.image(subject(platform))
            await platform.report()
            assert not work.claims
            assert worker.worker_id
        async with platform.worker(tmp_path / "b", image_base=str(base.layout.folder)):
            await ended(work)


async def test_an_image_is_pushed_with_the_credentials_of_the_worker_s_user(
    base: FromLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.write_text(f"ann:{BCRYPT}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(users)}}
    (port,) = free_ports(1)
    with DockerRegistry(tmp_path / "registry", auth=auth) as server:
        there = f"{server.host}/satellites/all:one"
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        async with Platform() as platform:
            options = {"image_base": str(base.layout.folder), "image_plain_http": (server.host,)}
            async with platform.worker(tmp_path / "worker", **options):
                digest = await ended(await platform.image(subject(platform)))
                assert f"the registry {server.host} asks for a user and password" in (
                    await failed(await platform.push(digest, there))
                )
                packed = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
                (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": packed}}}))
                for _ in range(2):
                    assert await ended(await platform.push(digest, there)) == digest
                away = await failed(await platform.push(digest, f"127.0.0.1:{port}/all:one"))
                assert f"the registry at https://127.0.0.1:{port} cannot be reached" in away
                assert await failed(await platform.push(f"sha256:{'0' * 64}", there)) == "no such blob"
            image = kept(platform, digest)
        known = Credentials("ann", PASSWORD)
        async with httpx.AsyncClient(timeout=60) as http:
            there_now = Registry(http, references.parse(there), credentials=known, plain_http=True)
            assert await there_now.image("satellites/all", "one", HERE) == image
