"""Content-addressed bytes: a folder by default, or an object store by URL (s3://, gs://, az://) through obstore.

A blob's name is the SHA-256 of its bytes in hex. Writing the same bytes twice is one blob; a reader can trust
what it gets, since `get` checks the digest of what it reads whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

_DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK = 1 << 20


class BlobMissing(LookupError):
    """No blob of that digest."""


class BlobCorrupt(ValueError):
    """The bytes are not those that the digest names."""


class Blobs:
    """One place that holds blobs."""

    def __init__(self, url: str) -> None:
        self._store = _open(url)

    async def put(self, content: bytes) -> str:
        """Store bytes; returns their digest."""
        digest = hashlib.sha256(content).hexdigest()
        if not await self.exists(digest):
            await obstore.put_async(self._store, _path(digest), content)
        return digest

    async def put_file(self, file: Path) -> str:
        """Store a file's bytes without holding them in memory; returns their digest."""
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        if not await self.exists(digest):
            await obstore.put_async(self._store, _path(digest), file)
        return digest

    async def exists(self, digest: str) -> bool:
        try:
            await obstore.head_async(self._store, _path(digest))
        except FileNotFoundError:
            return False
        return True

    async def size(self, digest: str) -> int:
        """Length in bytes. Raises BlobMissing."""
        try:
            return (await obstore.head_async(self._store, _path(digest)))["size"]
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest}") from error

    async def get(self, digest: str) -> bytes:
        """All bytes of a blob. Raises BlobMissing, BlobCorrupt."""
        content = b"".join([chunk async for chunk in self.stream(digest)])
        if hashlib.sha256(content).hexdigest() != digest:
            raise BlobCorrupt(f"blob {digest} holds other bytes than its name says; restore it from a backup")
        return content

    async def stream(self, digest: str) -> AsyncIterator[bytes]:
        """The bytes in chunks of about a MiB. Raises BlobMissing before the first."""
        try:
            result = await obstore.get_async(self._store, _path(digest))
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest}") from error
        async for chunk in result.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)


def valid_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def _path(digest: str) -> str:
    if not valid_digest(digest):
        raise BlobMissing(f"'{digest}' is not a SHA-256 digest in hex")
    return f"{digest[:2]}/{digest}"


def _open(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        folder = Path(parts.path)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore(prefix=folder, mkdir=True)
    return from_url(url)
