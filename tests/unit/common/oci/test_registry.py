"""What no registry at hand does: keep a part of a piece, send blobs elsewhere, ask for passwords in the open."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from libs.common.oci import references
from libs.common.oci.credentials import Credentials
from libs.common.oci.documents import LAYER, Descriptor, describe
from libs.common.oci.problems import RegistryRefused, Unauthorized
from libs.common.oci.registry import Registry
from libs.common.oci.uploads import push_blob

PIECE = 1000
HOST = "registry.example:5000"
STORE = "store.example"


class Double(httpx.AsyncBaseTransport):
    """A registry that keeps whatever arrives of an upload and says how far it is, as the specification has it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.upload = b""
        self.sent: list[tuple[int, int]] = []
        """Where each PATCH began, and how much of it was taken."""
        self.take: list[int] = []
        """How much the next PATCHes take before the connection breaks."""
        self.busy = 0
        """How many requests are answered by 503 first."""
        self.least = ""
        self.redirect = False
        self.challenge = ""
        self.store_challenge = ""
        self.authorizations: list[tuple[str, str | None]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, path = request.url.netloc.decode(), request.url.path
        self.authorizations.append((host, request.headers.get("authorization")))
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([piece async for piece in request.stream])
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, json={"errors": [{"code": "TOOMANYREQUESTS", "message": "later"}]})
        if self.challenge and "authorization" not in request.headers and host == HOST:
            return httpx.Response(401, headers={"www-authenticate": self.challenge})
        if self.store_challenge and host == STORE:
            return httpx.Response(401, headers={"www-authenticate": self.store_challenge})
        if path == "/v2/up/1":
            return self._go_on(request, body)
        if request.method == "POST":
            self.upload = b""
            return httpx.Response(202, headers={"location": "/v2/up/1?state=a", "oci-chunk-min-length": self.least})
        return self._blob(host, path.rpartition("/")[2])

    def _blob(self, host: str, digest: str) -> httpx.Response:
        if host == HOST and digest in self.blobs and self.redirect:
            return httpx.Response(307, headers={"location": f"https://{STORE}/{digest}"})
        content = httpx.ByteStream(self.blobs.get(digest, b""))
        return httpx.Response(200 if digest in self.blobs else 404, stream=content)

    def _go_on(self, request: httpx.Request, body: bytes) -> httpx.Response:
        if request.method == "PATCH":
            first = int(request.headers["content-range"].partition("-")[0])
            assert first == len(self.upload)
            taken = body[: self.take.pop(0)] if self.take else body
            self.upload += taken
            self.sent.append((first, len(taken)))
            if len(taken) < len(body):
                raise httpx.WriteError("the connection broke")
        if request.method == "PUT":
            self.blobs[parse_qs(urlsplit(str(request.url)).query)["digest"][0]] = self.upload + body
            return httpx.Response(201)
        host = STORE if self.redirect else HOST
        headers = {"location": f"https://{host}/v2/up/1?state=b", "range": f"0-{max(0, len(self.upload) - 1)}"}
        return httpx.Response(204 if request.method == "GET" else 202, headers=headers)


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
async def registry(double: Double) -> AsyncIterator[Registry]:
    async with httpx.AsyncClient(transport=double) as http:
        credentials = Credentials("joe", "s3cret")
        yield Registry(http, references.parse(f"{HOST}/a"), credentials=credentials)


def a_blob(folder: Path, size: int) -> tuple[Descriptor, Path]:
    (folder / "blob").write_bytes(random.randbytes(size))
    return describe((folder / "blob").read_bytes(), LAYER), folder / "blob"


async def test_an_upload_goes_on_at_the_byte(registry: Registry, double: Double, tmp_path: Path) -> None:
    descriptor, file = a_blob(tmp_path, 3 * PIECE)
    double.take = [PIECE, 300, 0]
    await push_blob(registry, "a", descriptor, file, chunk=PIECE)
    assert double.sent == [(0, 1000), (1000, 300), (1300, 0), (1300, 1000), (2300, 700)]
    assert double.blobs == {descriptor.digest: file.read_bytes()}


async def test_a_registry_says_how_small_pieces_may_be(registry: Registry, double: Double, tmp_path: Path) -> None:
    descriptor, file = a_blob(tmp_path, 3 * PIECE)
    double.least = str(2 * PIECE)
    await push_blob(registry, "a", descriptor, file, chunk=PIECE)
    assert double.sent == [(0, 2000), (2000, 1000)]


async def test_a_busy_registry_is_asked_again_a_refusal_is_final(
    registry: Registry, double: Double, tmp_path: Path
) -> None:
    descriptor, file = a_blob(tmp_path, PIECE)
    double.blobs[descriptor.digest] = file.read_bytes()
    double.busy = 2
    await registry.pull_blob("a", descriptor, tmp_path / "pulled")
    assert (tmp_path / "pulled").read_bytes() == file.read_bytes()
    double.busy = 1
    with pytest.raises(RegistryRefused, match=rf"^{HOST}/a: the registry answered 503 \(TOOMANYREQUESTS: later\)"):
        await registry.has_blob("a", descriptor.digest)


async def test_only_the_registry_learns_who_asks(registry: Registry, double: Double, tmp_path: Path) -> None:
    descriptor, file = a_blob(tmp_path, PIECE)
    double.blobs[descriptor.digest] = file.read_bytes()
    double.redirect, double.challenge = True, 'Basic realm="x"'
    await registry.pull_blob("a", descriptor, tmp_path / "pulled")
    assert [(host, shown is not None) for host, shown in double.authorizations] == [
        (HOST, False),
        (HOST, True),
        (STORE, False),
    ]


@pytest.mark.parametrize("challenge", ['Bearer realm="https://evil.example/token",service="x"', 'Basic realm="x"'])
async def test_only_the_registry_may_ask_who_asks(
    registry: Registry, double: Double, tmp_path: Path, challenge: str
) -> None:
    descriptor, file = a_blob(tmp_path, 2 * PIECE)
    double.blobs[descriptor.digest] = file.read_bytes()
    double.redirect, double.store_challenge = True, challenge
    with pytest.raises(Unauthorized, match=f"^{HOST}/a: {STORE}, where the registry keeps it, answered 401"):
        await registry.pull_blob("a", descriptor, tmp_path / "pulled")
    double.blobs.clear()
    with pytest.raises(Unauthorized, match=f"^{HOST}/a: {STORE}, where the registry keeps it, answered 401"):
        await push_blob(registry, "a", descriptor, file, chunk=PIECE)
    assert {host for host, _ in double.authorizations} == {HOST, STORE}
    assert {shown for _, shown in double.authorizations} == {None}


async def test_a_registry_may_be_named_with_the_usual_port() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        status = 200 if "authorization" in request.headers else 401
        return httpx.Response(status, headers={"www-authenticate": 'Basic realm="x"'})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        registry = Registry(http, references.parse("registry.example:443/a"), credentials=Credentials("joe", "s"))
        assert await registry.has_blob("a", "sha256:a")


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (
            'Bearer realm="http://tokens.example/t"',
            "'http://tokens.example/t', which would be told passwords without TLS",
        ),
        ('Bearer realm="nowhere"', "'nowhere', which is no address"),
        ("Negotiate", "asks for negotiate; Bearer or Basic is known here"),
        ("", "asks for nothing"),
    ],
)
async def test_other_ways_to_ask_are_refused(
    registry: Registry, double: Double, challenge: str, reason: str, tmp_path: Path
) -> None:
    double.challenge = challenge or " "
    with pytest.raises(Unauthorized, match=re.escape(reason)) as caught:
        await registry.has_blob("a", a_blob(tmp_path, 1)[0].digest)
    assert HOST in str(caught.value)
    assert "s3cret" not in str(caught.value)
