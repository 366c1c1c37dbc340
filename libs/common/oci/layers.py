"""Layers: files and folders as a tar archive whose bytes depend on names, contents and programs' x bits alone.

Members are sorted; times are one epoch, owners are root, modes are those of files, programs and folders; gzip notes
neither name nor time. Nothing is held in memory whole.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from libs.common.oci.documents import LAYER_GZIP, Descriptor
from libs.common.oci.images import Stacked

_FILE, _PROGRAM, _FOLDER, _LINK = 0o644, 0o755, 0o755, 0o777
_LEVEL = 6


class UnfitForLayer(ValueError):
    """Something cannot be part of a layer; the text names it."""


@dataclass(frozen=True)
class Entry:
    """One thing in a layer: a file with `source`, a link with `target`, else a folder. `path` is absolute in the
    image."""

    path: PurePosixPath
    source: Path | bytes | None = None
    target: str | None = None
    executable: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer in a file, compressed."""

    file: Path
    descriptor: Descriptor
    diff_id: str
    created_by: str = ""

    @property
    def stacked(self) -> Stacked:
        return Stacked(self.descriptor, self.diff_id, self.created_by)


def tree(
    root: Path,
    at: str | PurePosixPath,
    *,
    left_out: Callable[[PurePosixPath], bool] = lambda _: False,
    moved: Mapping[Path, PurePosixPath] | None = None,
) -> Iterator[Entry]:
    """All below a folder, as entries below `at`. Links stay links.

    Args:
        left_out: says of a path relative to `root` that it stays out, with all below it.
        moved: folders that are elsewhere in the image; absolute links into them lead there.

    Raises:
        UnfitForLayer: there is something that is neither file, folder nor link.
    """
    places = {root: PurePosixPath(at), **(moved or {})}
    yield Entry(PurePosixPath(at))
    for folder, names, files in os.walk(root):
        below = PurePosixPath(Path(folder).relative_to(root))
        names[:] = [name for name in names if not left_out(below / name)]
        for name in (*names, *files):
            if not left_out(below / name):
                yield _entry(Path(folder, name), at / below / name, places)


def write_layer(entries: Iterable[Entry], file: Path, *, epoch: int = 0, created_by: str = "") -> Layer:
    """Write entries, in any order, and the folders above them as a layer to a new file.

    Args:
        epoch: the time of all members, in seconds since 1970.

    Raises:
        UnfitForLayer: two different things have the same path, or a file is no file any more.
    """
    members = _members(entries)
    with file.open("xb") as raw:
        outside = _Digested(raw)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=outside, mtime=0) as packed:
            inside = _Digested(packed)
            with tarfile.open(fileobj=cast(IO[bytes], inside), mode="w|", format=tarfile.PAX_FORMAT) as archive:
                for path in sorted(members, key=lambda path: path.parts):
                    _add(archive, members[path], epoch)
    descriptor = Descriptor(media_type=LAYER_GZIP, digest=outside.digest, size=outside.size)
    return Layer(file, descriptor, inside.digest, created_by)


def _entry(path: Path, name: PurePosixPath, places: Mapping[Path, PurePosixPath]) -> Entry:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return Entry(name, target=_target(path.readlink(), places))
    if stat.S_ISDIR(found.st_mode):
        return Entry(name)
    if stat.S_ISREG(found.st_mode):
        return Entry(name, source=path, executable=bool(found.st_mode & 0o111))
    raise UnfitForLayer(f"{path} is neither file, folder nor link, so it cannot be part of an image")


def _target(target: Path, places: Mapping[Path, PurePosixPath]) -> str:
    for folder, place in places.items():
        if target.is_relative_to(folder):
            return str(place / target.relative_to(folder))
    return str(target)


def _members(entries: Iterable[Entry]) -> dict[PurePosixPath, Entry]:
    members: dict[PurePosixPath, Entry] = {}
    for entry in entries:
        if not entry.path.is_absolute() or ".." in entry.path.parts:
            raise UnfitForLayer(f"'{entry.path}' is no absolute path in an image")
        if members.setdefault(entry.path, entry) != entry:
            raise UnfitForLayer(f"two things would be called {entry.path} in the image")
    for path in list(members):
        for folder in path.parents[:-1]:
            above = members.setdefault(folder, Entry(folder))
            if above.source is not None or above.target is not None:
                raise UnfitForLayer(f"{folder} would be a file and a folder in the image")
    members.pop(PurePosixPath("/"), None)
    return members


def _add(archive: tarfile.TarFile, entry: Entry, epoch: int) -> None:
    member = tarfile.TarInfo(str(entry.path).lstrip("/"))
    member.mtime = epoch
    if entry.target is not None:
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, _LINK, entry.target
        archive.addfile(member)
    elif entry.source is None:
        member.type, member.mode = tarfile.DIRTYPE, _FOLDER
        archive.addfile(member)
    else:
        member.mode = _PROGRAM if entry.executable else _FILE
        with _open(entry.source) as content:
            member.size = content.seek(0, os.SEEK_END)
            content.seek(0)
            archive.addfile(member, content)


def _open(source: Path | bytes) -> IO[bytes]:
    """Never through a link that was put in the file's place."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnfitForLayer(f"{source} cannot be read for the image: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitForLayer(f"{source} is no file any more")
    return os.fdopen(descriptor, "rb")


class _Digested:
    """Passes on what is written and digests it."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None:
        self._target.flush()
