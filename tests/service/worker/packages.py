"""Package indexes of a test's own: wheels in a folder index, and a tiny npm registry."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def wheel(name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> bytes:
    """A pure Python wheel (https://packaging.python.org/en/latest/specifications/binary-distribution-format/)."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    members = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in members.items():
            archive.writestr(path, text)
    return content.getvalue()


def source_distribution(name: str, version: str, setup: str) -> bytes:
    """One whose metadata only its own `setup.py` knows, so that resolving runs it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, text in {
            "setup.py": setup,
            "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
        }.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class FolderIndex:
    """A simple repository (PEP 503) in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.url = folder.as_uri()

    def add(self, name: str, version: str, content: bytes, *, file: str | None = None) -> None:
        file = file or f"{name}-{version}-py3-none-any.whl"
        page = self._folder / name
        page.mkdir(exist_ok=True)
        (page / file).write_bytes(content)
        links = [path.name for path in page.iterdir() if path.name != "index.html"]
        (page / "index.html").write_text("".join(f'<a href="{link}">{link}</a>' for link in links))


def npm_registry(url: str, name: str, version: str, files: dict[str, str]) -> Starlette:
    """A registry with one package, to be served at `url`."""
    content = io.BytesIO()
    members = {**files, "package.json": json.dumps({"name": name, "version": version, "main": "index.js"})}
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, text in members.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    tarball = content.getvalue()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()

    async def package(_: Request) -> Response:
        dist = {"tarball": f"{url}/{name}.tgz", "integrity": integrity, "shasum": hashlib.sha1(tarball).hexdigest()}
        versions = {version: {"name": name, "version": version, "main": "index.js", "dist": dist}}
        return JSONResponse({"name": name, "dist-tags": {"latest": version}, "versions": versions})

    async def archive_of(_: Request) -> Response:
        return Response(tarball, media_type="application/octet-stream")

    return Starlette(routes=[Route(f"/{name}", package), Route(f"/{name}.tgz", archive_of)])
