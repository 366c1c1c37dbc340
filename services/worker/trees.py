"""Unpacks a source archive into a folder, trusting nothing that the archive says.

Only folders, files and links that stay inside are taken; everything else is refused, with its name, before
any later member is written. What is written cannot be changed by others and has no special permissions.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

MAX_MEMBERS = 200_000
MAX_BYTES = 8 << 30
_FILE_MODE = 0o444
_PROGRAM_MODE = 0o555
_FOLDER_MODE = 0o555


class BadArchive(ValueError):
    """The archive is damaged or holds what a source archive may not; the text says what."""


def unpack(
    archive: Path,
    target: Path,
    *,
    linked: Mapping[str, Path] | None = None,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> None:
    """Unpack a tar archive (plain or compressed) into the new, empty folder `target`, then make it read-only.

    Args:
        linked: names at the top that become links to other folders; what the archive has there is left out.

    Raises:
        BadArchive: it cannot be taken. What was unpacked until then is still there.
    """
    left, count = max_bytes, 0
    try:
        with tarfile.open(archive, "r:*") as members:
            for member in members:
                count += 1
                left -= max(member.size, 0)
                if count > max_members:
                    raise BadArchive(f"the source has more than {max_members} files")
                if left < 0:
                    raise BadArchive(f"the source is larger than {max_bytes} bytes when it is unpacked")
                if member.name.removeprefix("./").partition("/")[0] not in (linked or {}):
                    _write(members, member, target)
    except (tarfile.TarError, EOFError, OSError, UnicodeError) as error:
        raise BadArchive(f"the source archive cannot be unpacked: {error}") from error
    for name, path in (linked or {}).items():
        (target / name).symlink_to(path)
    _freeze(target)


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or "\0" in member.name:
        raise BadArchive(f"the source has a file outside of itself: {member.name!r}")
    path = target.joinpath(*parts)
    _check_parents(target, parts, member.name)
    if member.isdir():
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BadArchive(f"the source has two things called {member.name!r}")
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        raise BadArchive(f"the source has two things called {member.name!r}")
    if member.issym():
        _check_link(parts, member)
        path.symlink_to(member.linkname)
    elif member.isreg():
        content = members.extractfile(member)
        with path.open("xb") as file:
            if content is not None:
                shutil.copyfileobj(content, file)
        path.chmod(_PROGRAM_MODE if member.mode & 0o111 else _FILE_MODE)
    else:
        raise BadArchive(f"the source has something that is neither file, folder nor link: {member.name!r}")


def _check_parents(target: Path, parts: tuple[str, ...], name: str) -> None:
    """A path must not lead through a link: the link may have been put there to lead outside."""
    folder = target
    for part in parts[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise BadArchive(f"the source has a file behind a link: {name!r}")


def _check_link(parts: tuple[str, ...], member: tarfile.TarInfo) -> None:
    if member.linkname.startswith("/"):
        raise BadArchive(f"the source has a link to outside of itself: {member.name!r}")
    depth = len(parts) - 1
    for part in PurePosixPath(member.linkname).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise BadArchive(f"the source has a link to outside of itself: {member.name!r}")


def _freeze(target: Path) -> None:
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(_FOLDER_MODE)
