"""Pushing a blob: in one piece or in several, going on where a connection broke, or mounted from a repository
beside (OCI distribution specification 1.1, "Pushing Blobs")."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx

from libs.common import logs
from libs.common.oci.documents import Descriptor
from libs.common.oci.problems import RegistryProblem, RegistryRefused, RegistryUnreachable
from libs.common.oci.registry import PAUSES, TRANSIENT, Registry, absolute, read_pieces

log = logs.get(__name__)

CHUNK = 16 << 20
"""Bytes that are sent at a time. Smaller blobs are sent in one request."""
_WORTH_ANOTHER = (*TRANSIENT, 404, 416)
"""Statuses of a step after which the registry is asked how far it is."""
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


@dataclass(frozen=True)
class _Upload:
    """One that the registry has begun: where it goes on, how much is there, and the least that a piece may have."""

    url: str
    have: int = 0
    least: int = 0


async def mount(registry: Registry, repository: str, digest: str, source: str) -> bool:
    """Let `repository` have a blob that the repository `source` of the same registry has. False when the registry
    wants it uploaded."""
    query = urlencode({"mount": digest, "from": source})
    url = f"{registry.base}/v2/{repository}/blobs/uploads/?{query}"
    headers = {"Content-Length": "0"}
    try:
        answer = await registry.send(
            "POST", url, repository, push=True, mount_from=source, headers=headers, allowed=(201, 202)
        )
    except RegistryRefused as refused:  # such as for one who may not read `source`
        log.info("blob_not_mounted", registry=registry.name, repository=repository, reason=str(refused))
        return False
    if answer.status_code == 202 and "location" in answer.headers:
        left = absolute(answer.headers["location"], url, registry.name)
        await registry.send("DELETE", left, repository, push=True, allowed=(200, 202, 204, 404, 405))
    return answer.status_code == 201


async def push_blob(
    registry: Registry, repository: str, descriptor: Descriptor, file: Path, *, chunk: int = CHUNK
) -> None:
    """Give a repository the blob in `file`, unless it has it. A connection that breaks costs what was under way in
    it; a registry that has lost the upload is sent the blob anew.

    Raises RegistryUnreachable when the connection breaks too often, RegistryRefused and other problems.
    """
    if await registry.has_blob(repository, descriptor.digest):
        return
    pauses, upload, furthest, broken = iter(PAUSES), None, 0, False
    while True:
        try:
            if broken:
                upload = None if upload is None else await _resumed(registry, repository, upload)
                if upload is None and await registry.has_blob(repository, descriptor.digest):
                    return  # only the answer that said so was lost
                broken = False
            upload = upload or await _begin(registry, repository)
            while upload is not None:
                if upload.have > furthest:
                    furthest, pauses = upload.have, iter(PAUSES)
                upload = await _step(registry, repository, upload, descriptor, file, chunk)
        except (RegistryUnreachable, RegistryRefused) as error:
            if isinstance(error, RegistryRefused) and error.status not in _WORTH_ANOTHER:
                raise
            broken = True
            await registry.pause(pauses, error, f"the blob {descriptor.digest} of {repository}")
        else:
            return


async def _begin(registry: Registry, repository: str) -> _Upload:
    url = f"{registry.base}/v2/{repository}/blobs/uploads/"
    answer = await registry.send("POST", url, repository, push=True, headers={"Content-Length": "0"}, allowed=(202,))
    least = answer.headers.get("oci-chunk-min-length", "")
    return _Upload(_location(registry, answer, url), least=int(least) if least.isdecimal() else 0)


async def _step(
    registry: Registry, repository: str, upload: _Upload, descriptor: Descriptor, file: Path, chunk: int
) -> _Upload | None:
    """Send the next piece; None when the blob is complete."""
    left, chunk = descriptor.size - upload.have, max(chunk, upload.least)
    headers = {"Content-Type": "application/octet-stream"}
    if left == 0 or (upload.have == 0 and left <= chunk):
        mark = "&" if urlsplit(upload.url).query else "?"
        url = f"{upload.url}{mark}{urlencode({'digest': descriptor.digest})}"
        headers["Content-Length"] = str(left)
        body = read_pieces(file, upload.have, left)
        await registry.send("PUT", url, repository, push=True, headers=headers, content=body, allowed=(201,))
        return None
    length = min(chunk, left)
    headers |= {"Content-Length": str(length), "Content-Range": f"{upload.have}-{upload.have + length - 1}"}
    body = read_pieces(file, upload.have, length)
    answer = await registry.send(
        "PATCH", upload.url, repository, push=True, headers=headers, content=body, allowed=(202,)
    )
    return replace(upload, url=_location(registry, answer, upload.url), have=_have(answer, upload.have + length))


async def _resumed(registry: Registry, repository: str, upload: _Upload) -> _Upload | None:
    """How far the registry is with an upload; None when it does not go on with it."""
    try:
        answer = await registry.send("GET", upload.url, repository, push=True, allowed=(204,))
    except RegistryRefused as refused:
        log.info("upload_begins_anew", registry=registry.name, repository=repository, reason=str(refused))
        return None
    url = _location(registry, answer, upload.url) if "location" in answer.headers else upload.url
    return replace(upload, url=url, have=_have(answer, 0))


def _location(registry: Registry, answer: httpx.Response, asked: str) -> str:
    if "location" not in answer.headers:
        raise RegistryProblem(f"the registry {registry.name} does not say where an upload goes on")
    return absolute(answer.headers["location"], asked, registry.name)


def _have(answer: httpx.Response, otherwise: int) -> int:
    """Bytes that an answer says to be there. `0-0` stands for none."""
    found = _RANGE.fullmatch(answer.headers.get("range", ""))
    if not found:
        return otherwise
    return int(found[1]) + 1 if int(found[1]) else 0
