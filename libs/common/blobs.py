"""Bytes in a folder by default, or in an object store by URL (s3://, gs://, az://), through obstore.

`Blobs` are content-addressed: a blob's name is the SHA-256 of its bytes in hex. Writing the same bytes twice is one
blob; a reader can trust what it gets, since `get` checks the digest of what it reads whole. `Objects` have names that
their owner makes up, and can be removed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

_DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK = 1 << 20
_PARTS_AT_ONCE = 2
"""Parts of one upload that are on their way together, 5 MiB each."""


class BlobMissing(LookupError):
    """No blob of that digest."""


class BlobCorrupt(ValueError):
    """The bytes are not those that the digest names."""


class StoreFailed(Exception):
    """The store did not take or give bytes: it cannot be reached, refuses, or is full."""


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
        digest = await asyncio.to_thread(_digest, file)
        if not await self.exists(digest):
            await obstore.put_async(self._store, _path(digest), file)
        return digest

    async def put_stream(self, digest: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what comes, if it has the digest; all of it, or nothing. Holds a few MiB of it in memory at most.

        Raises BlobCorrupt when it has another one, StoreFailed, and what `chunks` raises.
        """
        await _put(self._store, _path(digest), _checked(digest, chunks))

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
        async for chunk in await self.open(digest):
            yield chunk

    async def open(self, digest: str, span: tuple[int, int] | None = None) -> AsyncIterator[bytes]:
        """The bytes in chunks of about a MiB. Raises BlobMissing.

        Args:
            span: first byte, and the one after the last; None for all.
        """
        try:
            result = await obstore.get_async(self._store, _path(digest), options={"range": span} if span else None)
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest}") from error
        return _chunks(result)


class Objects:
    """Bytes under names of their owner's, in a folder of a store that others may use too."""

    def __init__(self, url: str, folder: str) -> None:
        self._store = _open(url)
        self._folder = folder
        self._root = _local(url)

    async def put(self, name: UUID, chunks: AsyncIterator[bytes]) -> None:
        """Store what comes, whole or, when `chunks` raises, not at all. Holds a few MiB of it in memory at most.

        Raises StoreFailed, and what `chunks` raises.
        """
        await _put(self._store, self._path(name), chunks)

    async def open(self, name: UUID, span: tuple[int, int] | None = None) -> AsyncIterator[bytes]:
        """The bytes in chunks of about a MiB. Raises BlobMissing, StoreFailed.

        Args:
            span: first byte, and the one after the last; None for all.
        """
        try:
            result = await obstore.get_async(self._store, self._path(name), options={"range": span} if span else None)
        except FileNotFoundError as error:
            raise BlobMissing(f"no object {name}") from error
        except BaseError as error:
            raise StoreFailed("the object store did not give the bytes") from error
        return _chunks(result)

    async def remove(self, name: UUID) -> None:
        """Remove the object, if there is one, and what an upload that was cut off may have left of it.

        Raises StoreFailed.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, self._path(name))
            if self._root is not None:
                await asyncio.to_thread(_remove_parts, self._root / self._path(name))
        except (BaseError, OSError) as error:
            raise StoreFailed("the object store did not remove the bytes") from error

    def _path(self, name: UUID) -> str:
        return f"{self._folder}/{name.hex[:2]}/{name.hex}"


def valid_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _path(digest: str) -> str:
    if not valid_digest(digest):
        raise BlobMissing(f"'{digest}' is not a SHA-256 digest in hex")
    return f"{digest[:2]}/{digest}"


async def _put(store: ObjectStore, path: str, chunks: AsyncIterator[bytes]) -> None:
    head: list[bytes] = []
    size = 0
    async for chunk in chunks:
        head.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            break
    content = _joined(head, chunks) if size >= CHUNK else b"".join(head)
    try:
        await obstore.put_async(store, path, content, max_concurrency=_PARTS_AT_ONCE)
    except BaseError as error:
        raise StoreFailed("the object store did not take the bytes") from error


async def _checked(digest: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    seen = hashlib.sha256()
    async for chunk in chunks:
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != digest:
        raise BlobCorrupt(f"the bytes have the digest {seen.hexdigest()}, not {digest}")


async def _joined(head: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while head:
        yield head.pop(0)
    async for chunk in rest:
        yield chunk


async def _chunks(result: obstore.GetResult) -> AsyncIterator[bytes]:
    async for chunk in result.stream(min_chunk_size=CHUNK):
        yield bytes(chunk)


def _remove_parts(path: Path) -> None:
    """A folder's store writes `NAME#1` first, and a process that is killed meanwhile leaves it."""
    for part in path.parent.glob(f"{path.name}#*"):
        part.unlink(missing_ok=True)


def _local(url: str) -> Path | None:
    """The folder that is meant by a path or by a URL of a file (RFC 8089); None for an object store."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(url)


def _open(url: str) -> ObjectStore:
    folder = _local(url)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore(prefix=folder, mkdir=True)
    return from_url(url)
