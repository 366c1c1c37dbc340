"""Unpacks a source archive into a folder, trusting nothing that the archive says.

Only folders, files and links that stay inside are taken; everything else is refused, with its name. Nothing is
written behind a link. What is written cannot be changed by others and has no special permissions.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

MAX_MEMBERS = 200_000
MAX_BYTES = 8 << 30
_FILE_MODE = 0o444
_PROGRAM_MODE = 0o555
_FOLDER_MODE = 0o555


class BadArchive(ValueError):
    """The archive is damaged or holds what a source archive may not; the text says what."""


Place = Callable[[str], str | None]
"""The name in the target of a member, or None for one that is left out."""


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

    def place(name: str) -> str | None:
        return None if name.removeprefix("./").partition("/")[0] in (linked or {}) else name

    for name, path in (linked or {}).items():
        (target / name).symlink_to(path)
    extract(archive, target, place=place, max_bytes=max_bytes, max_members=max_members)
    freeze(target)


def extract(
    archive: Path,
    target: Path,
    *,
    place: Place,
    moved: Mapping[str, Path] | None = None,
    max_bytes: int | None = None,
    max_members: int | None = None,
) -> None:
    """Unpack what has a place into the folder `target`, which holds nothing but links at its top.

    Args:
        moved: folders, by the absolute path that links in the archive have for them, with where they are here.
        max_bytes, max_members: None where whoever made the archive has as much room as they want.

    Raises as `unpack`.
    """
    size, count = 0, 0
    links: list[str] = []
    try:
        with tarfile.open(archive, "r:*") as members:
            for member in members:
                count += 1
                size += max(member.size, 0)
                if max_members is not None and count > max_members:
                    raise BadArchive(f"the source has more than {max_members} files")
                if max_bytes is not None and size > max_bytes:
                    raise BadArchive(f"the source is larger than {max_bytes} bytes when it is unpacked")
                if (name := place(member.name)) is not None:
                    _write(members, member, name, target, moved or {})
                    if member.issym():
                        links.append(name)
        for name in links:  # when all are there: what is in a link's way may become a link later
            _check_way(target, name)
    except (tarfile.TarError, EOFError, OSError, UnicodeError) as error:
        raise BadArchive(f"the source archive cannot be unpacked: {error}") from error


def freeze(target: Path) -> None:
    """Nobody changes the folders of an unpacked archive any more."""
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(_FOLDER_MODE)


def _write(
    members: tarfile.TarFile, member: tarfile.TarInfo, name: str, target: Path, moved: Mapping[str, Path]
) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise BadArchive(f"the source has a file outside of itself: {name!r}")
    path = target.joinpath(*parts)
    _check_parents(target, parts, name)
    if member.isdir():
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BadArchive(f"the source has two things called {name!r}")
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        raise BadArchive(f"the source has two things called {name!r}")
    if member.issym():
        path.symlink_to(_followed(member.linkname, moved) or _checked_link(parts, member))
    elif member.isreg():
        content = members.extractfile(member)
        with path.open("xb") as file:
            if content is not None:
                shutil.copyfileobj(content, file)
        path.chmod(_PROGRAM_MODE if member.mode & 0o111 else _FILE_MODE)
    else:
        raise BadArchive(f"the source has something that is neither file, folder nor link: {name!r}")


def _followed(link: str, moved: Mapping[str, Path]) -> Path | None:
    """Where a link to a folder that was moved leads now."""
    wanted = PurePosixPath(link)
    for before, now in moved.items():
        if wanted.is_relative_to(before) and ".." not in wanted.parts:
            return now / wanted.relative_to(before)
    return None


def _check_parents(target: Path, parts: tuple[str, ...], name: str) -> None:
    """A path must not lead through a link: the link may have been put there to lead outside."""
    folder = target
    for part in parts[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise BadArchive(f"the source has a file behind a link: {name!r}")


def _checked_link(parts: tuple[str, ...], member: tarfile.TarInfo) -> str:
    """Where the link leads, if that is inside by its text. That it does so in truth, `_check_way` sees."""
    if member.linkname.startswith("/"):
        raise BadArchive(f"the source has a link to outside of itself: {member.name!r}")
    depth = len(parts) - 1
    for part in PurePosixPath(member.linkname).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise BadArchive(f"the source has a link to outside of itself: {member.name!r}")
    return member.linkname


def _check_way(target: Path, name: str) -> None:
    """Behind a link, `..` leads to the folder above of where that link leads, perhaps outside: none may be there."""
    path = target / name
    link = path.readlink().parts
    last = max((index for index, part in enumerate(link) if part == ".."), default=0)
    place = path.parent
    for part in link[:last]:
        place = place.parent if part == ".." else place / part
        if place.is_symlink():
            raise BadArchive(f"the source has a link to outside of itself: {name!r}")
