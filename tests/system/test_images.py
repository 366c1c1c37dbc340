"""Images made by the platform: five processes, a container registry that has the base, and a Docker engine."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.oci.documents import Manifest
from libs.common.oci.images import Image
from libs.common.oci.layout import Layout
from tests.support.author import Author
from tests.support.deployment import SERVICES, Separate
from tests.support.docker import Docker
from tests.support.docker_registry import DockerRegistry
from tests.support.images import HERE, TOKEN, container, pushed, python_base
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMQ

SECONDS = 240.0
ECHO = "import os\ndef apply(input):\n    return [input, os.getuid()]\n"
IMAGES = "/admin/v1/images"


class Platform(Separate):
    """Its worker takes the base image from a registry."""

    settings: dict[str, dict[str, str]]

    def start(self) -> None:
        for name in SERVICES:
            self.start_service(name, **self.settings.get(name, {}))
        self.wait_ready()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As an administrator."""
        headers = {"authorization": f"Simple {self.admin['admin_api_key']}", **options.pop("headers", {})}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60.0, **options)

    def until(self, path: str, is_so: Callable[[Any], bool], what: str) -> Any:
        """A document, once it is as it should be; the platform may be away meanwhile."""
        seen: list[Any] = []

        def look() -> bool:
            answer = self.ask("GET", path)
            if answer.status_code == 200:
                seen.append(answer.json())
            return bool(seen) and is_so(seen[-1])

        self.wait_until(look, what, SECONDS)
        return seen[-1]

    def image(self, **of: Any) -> Any:
        answer = self.ask("POST", IMAGES, json=of)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def made(self, image_id: str) -> Any:
        found = self.until(f"{IMAGES}/{image_id}", lambda one: one["state"] in ("ready", "failed"), "make an image")
        assert found["state"] == "ready", found["reason"]
        return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, python_archive: Path) -> Iterator[DockerRegistry]:
    folder = tmp_path_factory.mktemp("registry")
    with DockerRegistry(folder / "server") as server:
        layout = python_base(folder, python_archive)
        asyncio.run(pushed(layout, f"{server.host}/base/python:1", folder))
        yield server


@pytest.fixture(scope="module")
def platform(
    postgres: Postgres, rabbitmq: RabbitMQ, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    database = asyncio.run(postgres.create_database())
    platform = Platform(tmp_path_factory.mktemp("images"), database_url=database, bus_url=rabbitmq.url)
    platform.settings = {
        "registry": {"CONSTELLATION_IMAGE_LEASE_SECONDS": "4"},
        "worker": {
            "CONSTELLATION_IMAGE_BASE": f"{registry.host}/base/python:1",
            "CONSTELLATION_IMAGE_PLAIN_HTTP": f'["{registry.host}"]',
        },
    }
    with platform:
        yield platform


@pytest.fixture(scope="module")
def echo(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An algorithm at a commit."""
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield f"{author.username}/echo/{author.deploy('echo', ECHO)}"


def test_an_image_is_made_though_its_worker_and_the_registry_service_die(
    platform: Platform, registry: DockerRegistry, tmp_path: Path
) -> None:
    registry.freeze()
    try:
        image = platform.image(gateway=True)
        path = f"{IMAGES}/{image['id']}"
        platform.until(path, lambda one: one["state"] == "running", "begin to make an image")
        for name in ("worker", "registry"):
            platform.signal(name, signal.SIGKILL)
    finally:
        registry.thaw()
    platform.start()
    found = platform.made(image["id"])
    assert found["attempts"] == 2
    assert found["base"].startswith(f"{registry.host}/base/python:1@sha256:")
    whole(platform, found, tmp_path)


def whole(platform: Platform, found: Any, folder: Path) -> None:
    """All that a bundle needs of an image comes from the platform."""
    layout = Layout.create(folder / "layout")
    documents: dict[str, bytes] = {}
    for number, blob in enumerate(found["blobs"]):
        size, file = blob["size"], folder / str(number)
        with file.open("wb") as target:
            for span in (f"bytes=0-{size // 2}", f"bytes={size // 2 + 1}-"):
                answer = platform.ask("GET", f"{IMAGES}/blobs/{blob['digest']}", headers={"range": span})
                assert answer.status_code == 206, answer.text
                target.write(answer.content)
        content = file.read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]
        documents[blob["digest"]] = content
        layout.add(content, blob["digest"])
    manifest = documents[found["digest"]]
    config = documents[Manifest.decode(manifest).config.digest]
    layout.add_image(Image.read(manifest, config), "image")
    layout.verify()
    assert layout.image(HERE).descriptor.digest == found["digest"]


@pytest.mark.docker
async def test_an_image_of_an_algorithm_is_pushed_and_answers(
    platform: Platform, registry: DockerRegistry, docker: Docker, echo: str
) -> None:
    image = platform.made(platform.image(algorithm=echo)["id"])
    assert platform.image(algorithm=echo)["id"] == image["id"]
    order = platform.ask("POST", f"{IMAGES}/{image['id']}/push", json={"to": f"{registry.host}/all"})
    assert order.status_code == 202, order.text
    path = f"{IMAGES}/{image['id']}"
    found = platform.until(path, lambda one: one["pushes"][0]["state"] in ("ready", "failed"), "push an image")
    assert found["pushes"][0]["state"] == "ready", found["pushes"]
    reference = f"{registry.host}/all@{image['digest']}"
    async with container(docker, reference) as (_, caller):
        assert caller.call("hi", headers={"x-replica-token": TOKEN}).result == ["hi", 65532]
