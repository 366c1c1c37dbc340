"""Carries connections from a listening socket to a Unix socket: the way for calls of other hosts to a program without
a network. A part of a launcher, or a program by itself: `forwarder.py HOST PORT SOCKET`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading

_CHUNK = 1 << 16
_BACKLOG = 128
_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 60
_MAX_CONNECTIONS = 256
"""Carried at once; further ones wait to be accepted."""


def listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    return listener


def run(listener: socket.socket, target: str) -> None:
    """Serve until the process ends: connections go to the Unix socket at the path `target`."""
    places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
    while True:
        with places:  # waits while all are taken
            near, _ = listener.accept()
        threading.Thread(target=_carry, args=(near, target, places), daemon=True).start()


def _carry(near: socket.socket, target: str, places: threading.BoundedSemaphore) -> None:
    with places, near, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as far:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
        far.settimeout(_CONNECT_SECONDS)
        far.connect(target)
        far.settimeout(None)
        back = threading.Thread(target=_copy_back, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy_back(far: socket.socket, near: socket.socket) -> None:
    """A program that has closed its end answers nothing more: then who is silent at the other has no place here."""
    _copy(far, near)
    closed = select.poll()
    closed.register(far, 0)  # for POLLHUP alone
    with contextlib.suppress(OSError, ValueError):
        closed.poll()
        near.shutdown(socket.SHUT_RDWR)


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


if __name__ == "__main__":
    run(listen(sys.argv[1], int(sys.argv[2])), sys.argv[3])
