"""Algorithm references: parsing every published spelling, and resolving them in the catalog. Pure.

The spellings are those of the Algorithmia API, `POST /v1/algo/REF`:
``OWNER/NAME``, ``OWNER/NAME/latest``, ``/latestPrivate``, ``/1.2.3``, ``/1.2``, ``/1.2.*``, ``/1.2.x``,
``/1.*``, ``/<40 hex digits>``, and an algorithm's UUID in the place of ``OWNER/NAME``; with an optional
``algo://`` (or ``algo:/``) in front and an optional trailing slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from libs.common.contracts.catalog import Callability, Revision

MAX_VERSION = 64
"""Characters of a version. No form of one that names anything is longer."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,29}")
_SHA = re.compile(r"[0-9a-fA-F]{40}")
_EXACT = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
_PREFIX = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.[*x])?")
LATEST = "latest"
LATEST_PRIVATE = "latestPrivate"


class InvalidReference(ValueError):
    """The text is not an algorithm reference; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`algorithm` is ``owner/name`` or a UUID in text; `version` is empty, a version form or a commit."""

    algorithm: str
    version: str = ""

    @property
    def is_id(self) -> bool:
        return "/" not in self.algorithm

    def __str__(self) -> str:
        return f"{self.algorithm}/{self.version}" if self.version else self.algorithm


def parse(text: str) -> Reference:
    """Parse what stands behind ``/v1/algo/``.

    Raises:
        InvalidReference: with a message for the caller.
    """
    rest = text.strip("/")
    if rest.startswith("algo:/"):
        rest = rest[len("algo:/") :].lstrip("/")
    parts = rest.split("/")
    if _is_uuid(parts[0]):
        algorithm, version = str(UUID(parts[0])), parts[1:]
    elif len(parts) >= 2:
        for part in parts[:2]:
            if not NAME.fullmatch(part):
                raise InvalidReference(
                    f"'{part}' is not a legal name: a letter, then letters, digits or _, at most 30"
                )
        algorithm, version = f"{parts[0]}/{parts[1]}", parts[2:]
    else:
        raise InvalidReference(f"'{rest}' is no algorithm reference: OWNER/NAME[/VERSION] is")
    if len(version) > 1:
        raise InvalidReference(f"'{rest}' has more parts than OWNER/NAME/VERSION")
    if version and len(version[0]) > MAX_VERSION:
        raise InvalidReference(f"the version has {len(version[0])} characters, and at most {MAX_VERSION} are legal")
    return Reference(algorithm, version[0] if version else "")


def resolve(version: str, revisions: Iterable[Revision], *, insider: bool) -> Revision | None:
    """The revision that `version` names, or None when there is none that the caller may use.

    Args:
        version: the reference's version part.
        revisions: the algorithm's, oldest build first.
        insider: the caller is the owner or a member of the owning organization. Others see only what
            is published publicly: never a private version, never a commit.
    """
    built = list(revisions)
    if _SHA.fullmatch(version):
        wanted = version.lower()
        return next((r for r in reversed(built) if r.commit == wanted), None) if insider else None
    if version == LATEST_PRIVATE:
        private = [r for r in built if r.version and r.callability is Callability.PRIVATE]
        return _newest(private) if insider else None
    public = [r for r in built if r.version and r.callability is Callability.PUBLIC]
    if version in ("", LATEST):
        return _newest(public)
    if _EXACT.fullmatch(version):
        published = [r for r in built if r.version] if insider else public
        return next((r for r in published if semantic(r.version) == semantic(version)), None)
    if found := _PREFIX.fullmatch(version):
        prefix = tuple(int(part) for part in found.groups() if part is not None)
        return _newest([r for r in public if semantic(r.version)[: len(prefix)] == prefix])
    return None


def semantic(version: str | None) -> tuple[int, int, int]:
    """``"1.2.3"`` as numbers that sort. Raises ValueError for anything else."""
    found = _EXACT.fullmatch(version or "")
    if not found:
        raise ValueError(f"'{version}' is not MAJOR.MINOR.REVISION")
    major, minor, revision = found.groups()
    return int(major), int(minor), int(revision)


def _newest(published: list[Revision]) -> Revision | None:
    return max(published, key=lambda r: semantic(r.version), default=None)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) == 36
