"""A client of one registry: manifests and blobs (OCI distribution specification 1.1)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit

import httpx

from libs.common import logs
from libs.common.oci import authentication
from libs.common.oci.authentication import Authentication, Scope
from libs.common.oci.credentials import Credentials
from libs.common.oci.documents import (
    INDEXES,
    MANIFESTS,
    BadDocument,
    Descriptor,
    DigestMismatch,
    Index,
    Manifest,
    Platform,
    check,
    digest_of,
)
from libs.common.oci.images import Image, is_index
from libs.common.oci.problems import RegistryProblem, RegistryRefused, RegistryUnreachable, Unauthorized, refusal
from libs.common.oci.references import DIGEST, ImageReference

log = logs.get(__name__)

_MAX_DOCUMENT = 4 << 20
_PIECE = 1 << 20
_FROM = re.compile(r"bytes (\d+)-")
PAUSES = (0.2, 1.0, 3.0, 5.0)
"""Seconds before each further attempt to go on with a blob; one that gets further begins with the first again."""
TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))

Body = Callable[[], AsyncIterator[bytes]]
"""Gives what is sent, from its beginning, each time that it is asked."""


class Registry:
    """One registry, as one client. `http` may be shared."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        reference: ImageReference,
        *,
        credentials: Credentials | None = None,
        plain_http: bool = False,
    ) -> None:
        """
        Args:
            reference: of any image there.
            plain_http: talk without TLS.
        """
        self.name = reference.registry
        self.base = f"{'http' if plain_http else 'https'}://{reference.api_host}"
        self._http = http
        self._authentication = Authentication(http, self.name, credentials, plain=plain_http)

    async def ping(self, repository: str) -> None:
        """See that it answers, and lets whoever asks push to a repository. Raises problems."""
        await self.send("GET", f"{self.base}/v2/", repository, push=True)

    async def has_blob(self, repository: str, digest: str) -> bool:
        answer = await self.send("HEAD", self._url(repository, "blobs", digest), repository, allowed=(200, 404))
        return answer.status_code == 200

    async def manifest(self, repository: str, version: str) -> tuple[str, bytes]:
        """Media type and bytes of a manifest or index, by tag or digest.

        Raises NotInRegistry and other problems; DigestMismatch, BadDocument.
        """
        url = self._url(repository, "manifests", version)
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        async with self.stream("GET", url, repository, headers=accept) as answer:
            content = await self._document(answer, url)
        wanted = version if DIGEST.fullmatch(version) else answer.headers.get("docker-content-digest")
        if wanted is not None and DIGEST.fullmatch(wanted):
            check(content, wanted, f"{self.name}/{repository}")
        return answer.headers.get("content-type", "").partition(";")[0].strip(), content

    async def put_manifest(self, repository: str, version: str, media_type: str, content: bytes) -> str:
        """Put a manifest under a tag or its digest, when all that it names is there. Gives its digest."""
        url = self._url(repository, "manifests", version)
        headers = {"Content-Type": media_type}
        await self.send("PUT", url, repository, push=True, headers=headers, content=content, allowed=(201,))
        return digest_of(content)

    async def image(self, repository: str, version: str, platform: Platform) -> Image:
        """An image, of an index that for the platform. Raises as `manifest` does."""
        media_type, content = await self.manifest(repository, version)
        while is_index(media_type):
            descriptor = Index.decode(content).choose(platform)
            media_type, content = await self.manifest(repository, descriptor.digest)
        return Image.read(content, await self.document(repository, Manifest.decode(content).config))

    async def document(self, repository: str, descriptor: Descriptor) -> bytes:
        """A small blob."""
        url = self._url(repository, "blobs", descriptor.digest)
        async with self.stream("GET", url, repository) as answer:
            content = await self._document(answer, url)
        return check(content, descriptor.digest, f"{self.name}/{repository}")

    async def pull_blob(self, repository: str, descriptor: Descriptor, file: Path) -> None:
        """Write a blob to a new file, going on where a connection broke. Nothing is left of one that fails.

        Raises DigestMismatch, NotInRegistry and other problems.
        """
        with await asyncio.to_thread(file.open, "xb") as target:
            try:
                await self._pull(repository, descriptor, target)
            except BaseException:
                await asyncio.to_thread(file.unlink)
                raise

    async def _pull(self, repository: str, descriptor: Descriptor, target: IO[bytes]) -> None:
        seen, have, pauses = hashlib.sha256(), 0, iter(PAUSES)
        url = self._url(repository, "blobs", descriptor.digest)
        while have < descriptor.size or have == 0:
            before = have
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
            try:
                async with self.stream("GET", url, repository, headers=headers, allowed=(200, 206)) as answer:
                    if _start(answer) != have:
                        await asyncio.to_thread(target.truncate, 0)
                        target.seek(0)
                        seen, have = hashlib.sha256(), 0
                    async for piece in answer.aiter_raw(_PIECE):
                        have += len(piece)
                        seen.update(piece)
                        if have > descriptor.size:
                            break
                        await asyncio.to_thread(target.write, piece)
                    break
            except (RegistryUnreachable, RegistryRefused, httpx.TransportError) as error:
                if isinstance(error, RegistryRefused) and error.status not in TRANSIENT:
                    raise
                pauses = iter(PAUSES) if have > before else pauses
                await self.pause(pauses, error, f"the blob {descriptor.digest} of {repository}")
        if have != descriptor.size or f"sha256:{seen.hexdigest()}" != descriptor.digest:
            raise DigestMismatch(
                f"{self.name}/{repository}: the bytes of {descriptor.digest} are damaged: {have} bytes came with the"
                f" digest sha256:{seen.hexdigest()}, not {descriptor.size}"
            )

    # What the parts of this package that push share

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        push: bool = False,
        mount_from: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Body | None = None,
        allowed: tuple[int, ...] = (200,),
    ) -> AsyncIterator[httpx.Response]:
        """An answer with one of the statuses `allowed`, its body not yet read.

        Raises Unauthorized, NotInRegistry, RegistryRefused; RegistryUnreachable before an answer began.
        """
        wanted = authentication.scope(repository, push=push, mount_from=mount_from)
        what = f"{self.name}/{repository}"
        answer = await self._sent(method, url, wanted, headers, content, what)
        try:
            if answer.status_code == 401 and not self._is_own(answer.url):
                where = f"{what}: {answer.url.netloc.decode()}, where the registry keeps it, answered 401"
                raise Unauthorized(f"{where}; only the registry itself is told who asks", 401)
            if answer.status_code == 401:
                await answer.aread()
                await answer.aclose()
                await self._authentication.meet(answer.headers.get_list("www-authenticate"), wanted)
                answer = await self._sent(method, url, wanted, headers, content, what)
            if answer.status_code not in allowed:
                raise refusal(answer, await answer.aread(), what)
            yield answer
        finally:
            await answer.aclose()

    async def send(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        push: bool = False,
        mount_from: str | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Body | None = None,
        allowed: tuple[int, ...] = (200,),
    ) -> httpx.Response:
        """As `stream`, and the body is read."""
        try:
            async with self.stream(
                method,
                url,
                repository,
                push=push,
                mount_from=mount_from,
                headers=headers,
                content=content,
                allowed=allowed,
            ) as answer:
                await answer.aread()
                return answer
        except httpx.TransportError as error:
            raise self._unreachable(error, f"{self.name}/{repository}") from error

    async def pause(self, pauses: Iterator[float], error: Exception, what: str) -> None:
        """Wait before the next attempt. Raises RegistryUnreachable when there is none left."""
        seconds = next(pauses, None)
        if seconds is None:
            raise RegistryUnreachable(
                f"the connection to the registry {self.name} broke too often for {what}: {_words(error)}"
            ) from error
        log.info("registry_connection_broke", registry=self.name, what=what, reason=_words(error))
        await asyncio.sleep(seconds)

    def _is_own(self, url: str | httpx.URL) -> bool:
        """Of the registry itself, not of where it keeps blobs."""
        one, own = httpx.URL(url), httpx.URL(self.base)
        return (one.scheme, one.host, one.port) == (own.scheme, own.host, own.port)

    def _url(self, repository: str, *parts: str) -> str:
        return "/".join((self.base, "v2", repository, *parts))

    async def _sent(
        self,
        method: str,
        url: str,
        wanted: Scope,
        headers: Mapping[str, str] | None,
        content: bytes | Body | None,
        what: str,
    ) -> httpx.Response:
        fields = dict(headers or {})
        body = content() if callable(content) else content
        known = self._authentication.header(wanted)
        if known is not None and self._is_own(url):
            fields["Authorization"] = known
        request = self._http.build_request(method, url, headers=fields, content=body)
        try:
            # A registry may send readers on to where it stores blobs; httpx does not tell others who we are.
            return await self._http.send(request, stream=True, follow_redirects=method in ("GET", "HEAD"))
        except httpx.HTTPError as error:
            raise self._unreachable(error, what) from error

    def _unreachable(self, error: Exception, what: str) -> RegistryUnreachable:
        return RegistryUnreachable(f"{what}: the registry at {self.base} cannot be reached: {_words(error)}")

    async def _document(self, answer: httpx.Response, url: str) -> bytes:
        pieces, size = [], 0
        try:
            async for piece in answer.aiter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_DOCUMENT:
                    raise BadDocument(f"{url} is larger than {_MAX_DOCUMENT} bytes, too large for a document")
        except httpx.TransportError as error:
            raise self._unreachable(error, url) from error
        return b"".join(pieces)


def absolute(location: str, base: str, registry: str) -> str:
    """The address that an answer's Location names. Raises RegistryProblem."""
    url = urljoin(base, location)
    if urlsplit(url).scheme not in ("http", "https"):
        raise RegistryProblem(f"the registry {registry} names '{location}' as the place of an upload")
    return url


def read_pieces(file: Path, start: int, length: int) -> Body:
    """A part of a file, to be sent."""

    async def pieces() -> AsyncIterator[bytes]:
        left = length
        with file.open("rb") as source:
            source.seek(start, os.SEEK_SET)
            while left and (piece := await asyncio.to_thread(source.read, min(left, _PIECE))):
                left -= len(piece)
                yield piece

    return pieces


def _start(answer: httpx.Response) -> int:
    """Where in the blob an answer begins."""
    found = _FROM.match(answer.headers.get("content-range", "")) if answer.status_code == 206 else None
    return int(found[1]) if found else 0


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
