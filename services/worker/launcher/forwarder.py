"""Carries connections from one listening socket to an address elsewhere: the way into an isolated program's network,
for the calls of other hosts.

A socket belongs to the network namespace in which it was made, not to that of the process which uses it. So a
listener made outside, served by a process inside, leads inside.
"""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 1 << 16
_BACKLOG = 128
_CONNECT_SECONDS = 5.0
_MAX_CONNECTIONS = 256
"""Carried at once; further ones wait to be accepted."""


def listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    return listener


def run(listener: socket.socket) -> None:
    """Serve until the process ends: connections go to the listener's port on the loopback of this network."""
    target = ("127.0.0.1", listener.getsockname()[1])
    places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
    while True:
        with places:  # waits while all are taken
            near, _ = listener.accept()
        threading.Thread(target=_carry, args=(near, target, places), daemon=True).start()


def _carry(near: socket.socket, target: tuple[str, int], places: threading.BoundedSemaphore) -> None:
    connect = socket.create_connection
    with places, near, contextlib.suppress(OSError), connect(target, timeout=_CONNECT_SECONDS) as far:
        far.settimeout(None)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source says that it is done, or either side is gone."""
    try:
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
