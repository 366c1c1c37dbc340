"""The data directory of one instance: made, checked and locked before anything is started in it."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODE = 0o711


class DataDirRefused(Exception):
    """The directory cannot be used; the message says why and what to do."""


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """The directory, made if needed, for this process alone. Yields it as an absolute path.

    Others may pass through it (the embedded database may run as another user) and not list it; every file in it
    is readable for its owner only.

    Raises:
        DataDirRefused: it cannot be written, or another instance runs in it.
    """
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(MODE)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirRefused(
            f"the data directory {path} cannot be written ({error.strerror}); "
            "give another one with --data-dir or change its permissions"
        ) from error
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = lock.read().strip() or "unknown"
            raise DataDirRefused(
                f"the data directory {path} is in use by another instance (process {holder}); "
                "stop it or give another one with --data-dir"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield path


def secret_file(path: Path) -> str:
    """The secret kept in a file of mode 0600; a random one is made the first time."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        value = secrets.token_urlsafe(32)
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
        part.replace(path)
        return value
