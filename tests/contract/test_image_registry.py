"""The registry client against a real registry."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import httpx
import pytest

from libs.common.oci import references
from libs.common.oci.credentials import Credentials, from_docker_config
from libs.common.oci.documents import (
    INDEX,
    LAYER,
    BadDocument,
    Descriptor,
    DigestMismatch,
    Index,
    Platform,
    digest_of,
)
from libs.common.oci.images import Image, Start, compose, scratch
from libs.common.oci.layers import Entry, Layer, write_layer
from libs.common.oci.layout import Layout
from libs.common.oci.problems import NotInRegistry, RegistryUnreachable, Unauthorized
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, FromRegistry, push, save
from libs.common.oci.uploads import mount, push_blob
from tests.support.docker_registry import BCRYPT, PASSWORD, DockerRegistry
from tests.support.ports import free_ports
from tests.support.token_service import TokenService

AMD64 = Platform(architecture="amd64")
CHUNK = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


class Wire(httpx.AsyncHTTPTransport):
    """Notes requests as `METHOD PATH`, and breaks connections: of the requests whose number among those of their
    method is in `cut`, within the body; of those in `deaf`, before the answer is read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.sent = 0
        """Bytes of bodies."""
        self.authorizations: dict[tuple[str, int | None], str | None] = {}
        self.before: dict[tuple[str, int], Callable[[], None]] = {}
        """What is done before a request is sent."""
        self.cut: set[tuple[str, int]] = set()
        self.deaf: set[tuple[str, int]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.authorizations[request.url.host, request.url.port] = request.headers.get("authorization")
        self.seen.append(f"{request.method} {request.url.path}")
        mark = (request.method, sum(one.startswith(request.method + " ") for one in self.seen))
        if mark in self.before:
            await asyncio.to_thread(self.before.pop(mark))
        if isinstance(request.stream, httpx.AsyncByteStream):
            request.stream = _Counted(request.stream, self, limit=CHUNK // 3 if mark in self.cut else None)
        answer = await super().handle_async_request(request)
        if mark in self.deaf:
            await answer.aclose()
            raise httpx.ReadError("the answer was lost")
        if mark in self.cut and request.method == "GET":
            assert isinstance(answer.stream, httpx.AsyncByteStream)
            answer.stream = _Counted(answer.stream, self, limit=CHUNK // 3)
        return answer

    def count(self, method: str) -> int:
        return sum(one.startswith(method + " ") for one in self.seen)


class _Counted(httpx.AsyncByteStream):
    def __init__(self, source: httpx.AsyncByteStream, wire: Wire, limit: int | None) -> None:
        self._source = source
        self._wire = wire
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passed = 0
        async for piece in self._source:
            if self._limit is not None and passed + len(piece) > self._limit:
                yield piece[: self._limit - passed]
                raise httpx.ReadError("the connection broke")
            passed += len(piece)
            self._wire.sent += len(piece)
            yield piece

    async def aclose(self) -> None:
        await self._source.aclose()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire() as transport:
        yield transport


@pytest.fixture
async def http(wire: Wire) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=wire, timeout=60) as client:
        yield client


@pytest.fixture
def registry(http: httpx.AsyncClient, server: DockerRegistry) -> Registry:
    return Registry(http, references.parse(f"{server.host}/any"), plain_http=True)


def a_blob(folder: Path, size: int) -> tuple[Descriptor, Path]:
    content = random.randbytes(size)
    folder.mkdir()
    file = folder / "blob"
    file.write_bytes(content)
    return Descriptor(media_type=LAYER, digest=digest_of(content), size=size), file


def a_base(folder: Path) -> tuple[Layer, Image]:
    folder.mkdir()
    layer = write_layer([Entry(PurePosixPath("/a"), source=b"a" * 1000)], folder / "layer")
    return layer, compose(scratch(AMD64), [layer.stacked], Start(["/a"], "root", "/"))


async def test_a_broken_connection_costs_what_was_under_way(
    registry: Registry, wire: Wire, server: DockerRegistry, tmp_path: Path
) -> None:
    # The registry is gone for a while between two pieces: nothing is sent twice.
    descriptor, file = a_blob(tmp_path / "gone", 5 * CHUNK + 7)
    wire.before[("PATCH", 3)] = server.stop
    wire.before[("GET", 1)] = server.start
    await push_blob(registry, "a/gone", descriptor, file, chunk=CHUNK)
    assert (wire.count("POST"), wire.count("PATCH"), wire.sent) == (1, 7, descriptor.size)
    assert server.blob(descriptor.digest).read_bytes() == file.read_bytes()

    # Within a piece: this registry drops an upload of which it has a part of a piece, so the blob begins anew.
    descriptor, file = a_blob(tmp_path / "cut", 3 * CHUNK + 7)
    wire.seen.clear()
    wire.cut = {("PATCH", 2)}
    await push_blob(registry, "a/cut", descriptor, file, chunk=CHUNK)
    assert (wire.count("POST"), wire.count("PATCH"), wire.count("PUT")) == (2, 2 + 4, 1)
    assert server.blob(descriptor.digest).read_bytes() == file.read_bytes()

    # Only the last answer is lost, in one piece: the blob is found.
    descriptor, file = a_blob(tmp_path / "deaf", CHUNK)
    wire.seen.clear()
    wire.cut, wire.deaf, wire.sent = set(), {("PUT", 1)}, 0
    await push_blob(registry, "a/deaf", descriptor, file, chunk=CHUNK)
    assert (wire.count("POST"), wire.count("PUT"), wire.count("PATCH"), wire.sent) == (1, 1, 0, CHUNK)
    wire.seen.clear()
    await push_blob(registry, "a/deaf", descriptor, file)
    assert wire.seen == [f"HEAD /v2/a/deaf/blobs/{descriptor.digest}"]

    # Downwards it goes on at the byte.
    wire.seen.clear()
    wire.deaf, wire.cut, wire.sent = set(), {("GET", 1), ("GET", 2)}, 0
    pulled = tmp_path / "pulled"
    await registry.pull_blob("a/deaf", descriptor, pulled)
    assert pulled.read_bytes() == file.read_bytes()
    assert wire.count("GET") == 3


async def test_images_go_up_and_come_down_as_they_are(
    registry: Registry, http: httpx.AsyncClient, wire: Wire, server: DockerRegistry, tmp_path: Path
) -> None:
    base_file, base = a_base(tmp_path / "base")
    layout = Layout.create(tmp_path / "layout")
    layout.add_file(base_file.file, base_file.descriptor)
    layout.add_image(base, "base")
    there = references.parse(f"{server.host}/base/image:1")
    assert await push(base, FromLayout(layout), {}, registry, there, tmp_path) == base.descriptor.digest

    # On top of a base in a registry: its layers are mounted, no byte of them passes through here.
    layer = write_layer([Entry(PurePosixPath("/b"), source=b"b")], tmp_path / "top", created_by="test")
    image = compose(base, [layer.stacked], Start(["/b"], "65532", "/"), annotations={"a": "b"})
    target = references.parse(f"{server.host}/top/image:2")
    wire.seen.clear()
    source = FromRegistry(registry, there)
    made = {layer.descriptor.digest: layer.file}
    assert await push(image, source, made, registry, target, tmp_path) == image.descriptor.digest
    assert wire.count("GET") == 0
    assert wire.count("PUT") == 3  # the layer, the config, the manifest
    assert await push(image, source, made, registry, target, tmp_path) == image.descriptor.digest
    assert wire.count("POST") == 3  # one mount and two uploads: the second time there was nothing to do

    by_tag = await registry.image("top/image", "2", AMD64)
    await push(base, FromLayout(layout), {}, registry, replace(target, tag=None), tmp_path)
    assert await registry.image("top/image", "latest", AMD64) == base
    by_digest = await registry.image("top/image", image.descriptor.digest, AMD64)
    assert by_tag == by_digest == image
    copy = Layout.create(tmp_path / "copy")
    await save(image, FromRegistry(registry, target), {}, copy, "here", tmp_path)
    copy.verify()
    assert copy.image(AMD64, "here") == image
    assert not await mount(registry, "top/image", digest_of(b"nowhere"), "base/image")

    # An index, and the errors of what is not there.
    index = Index(
        manifests=[
            one.model_copy(update={"platform": Platform(architecture=arch)})
            for one, arch in ((image.descriptor, "amd64"), (base.descriptor, "arm64"))
        ]
    )
    await push(base, FromLayout(layout), {}, registry, replace(target, tag="arm"), tmp_path)
    await registry.put_manifest("top/image", "many", INDEX, index.encode())
    assert await registry.image("top/image", "many", AMD64) == image
    with pytest.raises(BadDocument, match=r"not made for linux/s390x; its platforms are: linux/amd64, linux/arm64"):
        await registry.image("top/image", "many", Platform(architecture="s390x"))
    with pytest.raises(NotInRegistry, match=rf"^{server.host}/no/image: .*404 \(.*MANIFEST_UNKNOWN"):
        await registry.image("no/image", "1", AMD64)
    (port,) = free_ports(1)
    gone = Registry(http, references.parse(f"127.0.0.1:{port}/a"), plain_http=True)
    with pytest.raises(
        RegistryUnreachable, match=rf"^127.0.0.1:{port}/a: the registry at http://.* cannot be reached"
    ):
        await gone.has_blob("a", digest_of(b""))
    with pytest.raises(RegistryUnreachable, match="https://"):
        await Registry(http, there).has_blob("a", digest_of(b""))

    # A byte that was flipped where the registry keeps it.
    kept = server.blob(layer.descriptor.digest)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DigestMismatch, match=rf"{server.host}/top/image: the bytes of {layer.descriptor.digest}"):
        await registry.pull_blob("top/image", layer.descriptor, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


async def test_a_registry_with_passwords(http: httpx.AsyncClient, wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"tester:{BCRYPT}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(tmp_path / "users")}}
    descriptor, file = a_blob(tmp_path / "blob", 1000)
    with DockerRegistry(tmp_path / "registry", auth=auth) as server:
        reference = references.parse(f"{server.host}/a/b:1")
        config = tmp_path / "config.json"
        packed = base64.b64encode(f"tester:{PASSWORD}".encode()).decode()
        config.write_text(json.dumps({"auths": {server.host: {"auth": packed}}}))
        credentials = from_docker_config(config, reference.registry)
        await push_blob(Registry(http, reference, credentials=credentials, plain_http=True), "a/b", descriptor, file)
        with pytest.raises(Unauthorized, match=rf"the registry {server.host} asks for a user and password"):
            await Registry(http, reference, plain_http=True).has_blob("a/b", descriptor.digest)
        wrong = Registry(http, reference, credentials=Credentials("tester", "wrong"), plain_http=True)
        with pytest.raises(
            Unauthorized, match=rf"^{server.host}/a/b: .* 401 .*check the user and password"
        ) as caught:
            await wrong.image("a/b", "1", AMD64)
        assert "wrong" not in str(caught.value)


async def test_a_registry_with_a_token_service(http: httpx.AsyncClient, wire: Wire, tmp_path: Path) -> None:
    descriptor, file = a_blob(tmp_path / "blob", 1000)
    with (
        TokenService(tmp_path, users={"tester": PASSWORD}) as service,
        DockerRegistry(tmp_path / "registry", auth=service.auth) as server,
    ):
        reference = references.parse(f"{server.host}/a/b:1")
        credentials = Credentials("tester", PASSWORD)
        registry = Registry(http, reference, credentials=credentials, plain_http=True)
        await push_blob(registry, "a/b", descriptor, file)
        assert await mount(registry, "a/c", descriptor.digest, "a/b")
        await push_blob(registry, "a/b", *a_blob(tmp_path / "next", 10))
        assert service.scopes == [
            ("repository:a/b:pull",),
            ("repository:a/b:pull,push",),
            ("repository:a/c:pull,push", "repository:a/b:pull"),
        ]
        anonymous = Registry(http, reference, plain_http=True)
        with pytest.raises(Unauthorized, match=r"gives no token for repository:a/b:pull: .* 401"):
            await anonymous.has_blob("a/b", descriptor.digest)
        refresh = Registry(http, reference, credentials=Credentials("", identity_token=PASSWORD), plain_http=True)
        assert await refresh.has_blob("a/b", descriptor.digest)
