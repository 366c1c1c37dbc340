"""The sockets that a replica is reached under."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

BACKLOG = 512
_MODE = 0o660
"""Who else may connect is decided by the folder that the worker made."""


class AddressTaken(OSError):
    """Another process, or a file, is at the address."""


def listen_unix(path: str) -> socket.socket:
    """Takes the place of a socket that nobody listens on any more. Raises AddressTaken."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise AddressTaken(f"{path} is in the way of the socket")
        if _is_answered(path):
            raise AddressTaken(f"another process listens on {path}")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~_MODE)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    return _started(listener)


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def listen_tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise AddressTaken(f"cannot listen on {host}:{port}: {error}") from None
    return _started(listener)


def _started(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
