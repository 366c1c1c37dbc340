"""Bundles as the registry makes them, and a platform that gives them to `get`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

import httpx
from joserfc import jws
from joserfc.jwk import RSAKey

from libs.common.blobs import Blobs
from libs.common.contracts.bundles import SIGNATURE_TYPE, Bundle, SatelliteSecrets
from libs.common.contracts.catalog import Artifact, CatalogEntry, Language, Revision
from libs.common.contracts.launches import BundleTarget, KeySet, LaunchEntry, LaunchOrder, OrderAction
from libs.common.contracts.satellites import SatellitePlan
from libs.common.oci.documents import Platform
from libs.common.oci.images import Image, Start, compose, scratch
from libs.common.oci.layers import Entry, write_layer
from services.registry import bundles
from tests.support.fakts_double import signing_key

SATELLITE, LAUNCH = UUID(int=1, version=4), UUID(int=2, version=4)
SECRET = "s3cr3t value"


async def image(blobs: Blobs, files: Mapping[str, bytes]) -> Image:
    """An image of one layer for each file, kept in a store."""
    layers = []
    with TemporaryDirectory() as folder:
        for number, (path, content) in enumerate(files.items()):
            layer = write_layer([Entry(PurePosixPath(path), source=content)], Path(folder) / str(number))
            await blobs.put_file(layer.file)
            layers.append(layer.stacked)
    made = compose(scratch(Platform.of("x86_64")), layers, Start(["/run"], "65532", "/"))
    for document in (made.manifest_bytes, made.config_bytes):
        await blobs.put(document)
    return made


def plan(images: Mapping[str, str], *, version: int = 1, gateway: str | None = None) -> SatellitePlan:
    """A plan with one entry for each algorithm of `joe` that is named, of the image with that digest."""
    algorithms = {name: uuid5(SATELLITE, name) for name in images}
    entries = tuple(
        LaunchEntry(
            vanity_url=f"edge/{name}",
            owner="joe",
            name=name,
            commit="a" * 40,
            algorithm_id=algorithms[name],
            revision_id=uuid5(algorithms[name], "revision"),
            replicas=1,
        )
        for name in images
    )
    order = LaunchOrder(
        deployment_id=uuid5(LAUNCH, str(version)),
        launch_id=LAUNCH,
        number=version,
        action=OrderAction.DEPLOY,
        satellite_id=SATELLITE,
        satellite="edge",
        satellite_version=version,
        name="prod",
        entries=entries,
        keys="",
        target=BundleTarget(),
        by="root",
        at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    catalog = tuple(
        CatalogEntry(
            id=entry.algorithm_id,
            owner=entry.owner,
            name=entry.name,
            revisions=(
                Revision(
                    id=entry.revision_id,
                    commit=entry.commit,
                    language=Language.PYTHON,
                    artifact=Artifact(source="5" * 64, digest="d" * 64),
                    built_at=order.at,
                ),
            ),
        )
        for entry in entries
    )
    return SatellitePlan(
        order=order,
        keys=KeySet(),
        catalog=catalog,
        images={str(entry.revision_id): images[entry.name] for entry in entries},
        gateway_image=gateway,
    )


def signed(packed: bundles.Packed, key: RSAKey | None = None, *, kind: str = SIGNATURE_TYPE) -> Bundle:
    key = key or signing_key()
    header = {
        "alg": "RS256",
        "kid": "double",
        "typ": kind,
        "jwk": {name: key.as_dict(private=False)[name] for name in ("kty", "n", "e")},
    }
    text = jws.serialize_compact(header, f"sha256:{packed.sha256}", key, algorithms=["RS256"])
    return Bundle(index=packed.index, signature=text, files=packed.files)


class Mothership(httpx.BaseTransport):
    """Gives one bundle at a time."""

    def __init__(self, store: Path) -> None:
        self.blobs = Blobs(str(store))
        self.store = store
        self.bundle: Bundle | None = None
        self.waiting: list[str] = []
        """Answers before the bundle: what is being made."""
        self.keys = [signing_key()]
        self.breaks: dict[str, int] = {}
        """Blobs whose connection breaks, once, after so many bytes."""
        self.lost: set[str] = set()
        """Blobs of which no more comes once their connection broke."""
        self.mandates: list[str] = []
        """Identifiers that keys were given for."""
        self.refuses_mandates = False
        self.sent: dict[str, list[int]] = {}
        """Where each answer for a blob began."""

    async def offer(self, version: int = 1, *, extra: bytes = b"x", secrets: bool = True) -> None:
        """Have a bundle of two algorithms: `echo` is always the same, `tag` differs by `extra`."""
        made = {
            "echo": await image(self.blobs, {"/base": b"base", "/echo": bytes(range(256)) * 4096}),
            "tag": await image(self.blobs, {"/base": b"base", "/tag": extra}),
        }
        gateway = await image(self.blobs, {"/base": b"base", "/gateway": b"gateway"})
        digests = {name: one.descriptor.digest for name, one in made.items()}
        found = plan(digests, version=version, gateway=gateway.descriptor.digest)
        kept = {found.order.entries[0].algorithm_id: {"TOKEN": SECRET}} if secrets else {}
        self.bundle = signed(
            await bundles.pack(found, SatelliteSecrets(salt="s", algorithms=kept), self.blobs), self.keys[0]
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/o/jwks/":
            return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})
        if path.endswith("/bundle"):
            if self.waiting:
                return httpx.Response(202, json={"waiting": [self.waiting.pop(0)]})
            assert self.bundle is not None
            return httpx.Response(200, content=self.bundle.model_dump_json())
        if path.startswith("/admin/v1/images/blobs/sha256:"):
            return self._blob(path.rpartition(":")[2], request.headers.get("range"))
        if path == "/admin/v1/mandates" and not self.refuses_mandates:
            self.mandates += json.loads(request.content)["identifiers"]
            return httpx.Response(201, json={"id": "m", "key": "report-key"})
        return httpx.Response(404, json={"detail": f"no {path}"})

    def _blob(self, digest: str, asked: str | None) -> httpx.Response:
        kept = self.store / digest[:2] / digest
        if not kept.exists():
            return httpx.Response(404, json={"detail": f"no blob {digest}"})
        content = kept.read_bytes()
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start and digest in self.lost:
            raise httpx.ConnectError("nobody is there")
        self.sent.setdefault(digest, []).append(start)
        return httpx.Response(
            206 if asked else 200,
            headers={"content-length": str(len(content) - start)},
            stream=_Pieces(content[start:], self.breaks.pop(digest, None)),
        )


class _Pieces(httpx.SyncByteStream):
    def __init__(self, content: bytes, end: int | None) -> None:
        self._content, self._end = content, end

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._content) if self._end is None else self._end, 512):
            yield self._content[at : at + 512]
        if self._end is not None:
            raise httpx.ReadError("the connection broke")


def documents(mothership: Mothership) -> dict[str, Any]:
    """The index of the bundle that is offered."""
    assert mothership.bundle is not None
    found: dict[str, Any] = json.loads(mothership.bundle.index)
    return found
