"""Logins that outlive a process, and that several processes share: one file for each platform and app.

A file is replaced as a whole and only its owner can read it. Who renews a login holds its lock meanwhile, so that a
refresh token is spent once, and the others find the new one.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from libs.common.connect.errors import ConnectFailed
from libs.common.connect.protocol import Credential

_LOCK_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class Store(Protocol):
    """Where one login is kept."""

    def read(self) -> Credential | None: ...

    def write(self, credential: Credential) -> None: ...

    def remove(self) -> None: ...

    def locked(self) -> AbstractAsyncContextManager[None]: ...


class Memory:
    """Keeps a login as long as the process lives."""

    def __init__(self) -> None:
        self._credential: Credential | None = None
        self._lock = asyncio.Lock()

    def read(self) -> Credential | None:
        return self._credential

    def write(self, credential: Credential) -> None:
        self._credential = credential

    def remove(self) -> None:
        self._credential = None

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        async with self._lock:
            yield


class CredentialFile:
    """Keeps a login in a file of mode 0600. Every method raises ConnectFailed when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Credential | None:
        """None when there is no login, or nothing that is one."""
        try:
            return Credential.model_validate_json(self.path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except OSError as error:
            raise _unusable(self.path.parent, error) from error

    def write(self, credential: Credential) -> None:
        try:
            _replace(self.path, credential.model_dump_json())
        except OSError as error:
            raise _unusable(self.path.parent, error) from error

    def remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.path.parent, error) from error

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """For one process at a time, and one task in it. Ends with the process that holds it, however that ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.path.parent, error) from error
        try:
            end = time.monotonic() + _LOCK_SECONDS
            while not _taken(descriptor):
                if time.monotonic() > end:
                    raise ConnectFailed(f"another process holds {self.path} for longer than {_LOCK_SECONDS:g} s")
                await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)


def folder(environment: Mapping[str, str]) -> Path:
    """Where a user's logins are (XDG Base Directory Specification)."""
    home = environment.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / "constellation" / "logins"


def file_for(directory: Path, server: str, identifier: str) -> CredentialFile:
    """The file of one app's login to one platform."""
    words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{server.partition('://')[2]}_{identifier}")[:80]
    digest = hashlib.sha256(f"{server} {identifier}".encode()).hexdigest()[:12]
    return CredentialFile(directory / f"{words}_{digest}.json")


def device(directory: Path) -> str:
    """A name of this user on this machine, made up once: by it people tell a login here from one elsewhere.

    Raises ConnectFailed.
    """
    path = directory / "device"
    try:
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            name = f"{socket.gethostname()[:64]}-{secrets.token_hex(4)}"
            _replace(path, name)
            return name
    except OSError as error:
        raise _unusable(directory, error) from error


def logins(directory: Path, identifier: str) -> Iterator[Credential]:
    """All logins of an app, the one that was renewed last first."""
    files = []
    with suppress(OSError):
        files = [(path.stat().st_mtime, path) for path in directory.glob("*.json")]
    for _, path in sorted(files, reverse=True):
        found = CredentialFile(path).read()
        if found is not None and found.identifier == identifier:
            yield found


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _unusable(directory: Path, error: OSError) -> ConnectFailed:
    return ConnectFailed(
        f"logins cannot be kept in {directory} ({error.strerror}); set XDG_CONFIG_HOME to a folder that can be "
        "written, or keep this one in memory only"
    )
