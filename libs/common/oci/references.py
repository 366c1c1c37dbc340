"""References of images: `HOST:PORT/PATH/NAME:TAG@DIGEST`. Pure.

The grammar is that of the distribution project (github.com/distribution/reference), with Docker's short forms:
`python:3.11` is `docker.io/library/python:3.11`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_REPOSITORY = 255
LATEST = "latest"


class InvalidImageReference(ValueError):
    """The text names no image; the message says why."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`registry` is a host with an optional port, `repository` a path in it. With neither tag nor digest the tag
    `latest` is meant."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def api_host(self) -> str:
        """Host and port that serve the registry's API."""
        return _DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def version(self) -> str:
        """What manifests are asked by: the digest where there is one, else the tag."""
        return self.digest or self.tag or LATEST

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(text: str) -> ImageReference:
    """Raises InvalidImageReference."""
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise InvalidImageReference(f"'{text}': a digest is sha256: and 64 hexadecimal digits, not '{digest}'")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # what stands behind the colon is a port and a path
        name, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise InvalidImageReference(f"'{text}': '{tag}' is no tag: letters, digits, _, . and -, at most 128")
    registry, repository = _split(name)
    if not _HOST.fullmatch(registry):
        raise InvalidImageReference(f"'{text}': '{registry}' is no registry: HOST or HOST:PORT is")
    for part in repository.split("/"):
        if not _PART.fullmatch(part):
            raise InvalidImageReference(
                f"'{text}': '{part}' is no part of a repository's name: lower-case letters and digits,"
                " with single ., _ or - between them"
            )
    if len(repository) > _LONGEST_REPOSITORY:
        raise InvalidImageReference(f"'{text}': the repository's name is longer than {_LONGEST_REPOSITORY}")
    return ImageReference(registry, repository, tag or None, digest or None)


def _split(name: str) -> tuple[str, str]:
    """Registry and repository."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        if first in (DOCKER_HUB, "index.docker.io"):
            return DOCKER_HUB, rest if "/" in rest else f"library/{rest}"
        return first, rest
    return DOCKER_HUB, name if slash else f"library/{name}"
