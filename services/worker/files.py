"""Files on a worker's disk that others had a hand in: removing folders that are read-only, reading what
untrusted programs or authors wrote, measuring."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path


class Untrusted(ValueError):
    """A file is not what it should be; the text says how."""


def remove(path: Path) -> None:
    """Remove a folder and all in it, whatever its permissions. Nothing happens when it is not there."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if os.geteuid() != 0:
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def read_untrusted(path: Path, limit: int) -> bytes:
    """A regular file that a confined program wrote, of at most `limit` bytes. Never follows a link.

    Raises:
        Untrusted: it is missing, something else than a file, or larger.
    """
    descriptor = _open_regular(path)
    if descriptor is None:
        raise Untrusted(f"{path.name} was not written, or is no file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Untrusted(f"{path.name} is larger than {limit} bytes")
    return content


def read_within(folder: Path, name: str | Path, limit: int) -> bytes | None:
    """A regular file in a folder that others filled and change no more, of at most `limit` bytes. Links are followed
    as long as they stay inside. None when no such file is there.

    Raises:
        Untrusted: it is larger.
    """
    path = within(folder, name)
    return None if path is None else read_untrusted(path, limit)


def within(folder: Path, name: str | Path) -> Path | None:
    """Where a regular file of a folder lies in truth; None when it is none, is missing, or lies outside."""
    try:
        path = (folder / name).resolve(strict=True)
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # missing; a link to itself; a name that no file can have
        return None


def write_private(path: Path, content: str) -> None:
    """Replace a file, readable by its owner only. Readers see the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)


def disk_usage(path: Path) -> int:
    """Bytes that a folder takes on disk."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - many thousand files
    return total


def tail(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a file; nothing when it is not there."""
    descriptor = _open_regular(path)
    if descriptor is None:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        return file.read(limit)


def _open_regular(path: Path) -> int | None:
    """A descriptor of a file; None when something else, or nothing, is there. Waits for no pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
