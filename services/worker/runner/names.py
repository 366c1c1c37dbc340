"""Addresses of the gateways. Names are looked up by a short-lived child: a lookup may block for long, and
the guardian may neither wait nor have threads."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

from .loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop
    from .spec import Gateway

    Found = Callable[[list[tuple[int, Any]]], None]
    """Takes socket families with addresses to connect to; none if the lookup failed."""

_KEPT_S = 30.0
_LOOKUP_S = 10


class Names:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._kept: dict[tuple[str, int], tuple[float, list[tuple[int, Any]]]] = {}

    def find(self, gateway: Gateway, found: Found) -> None:
        """Call `found`, at once if the answer is known."""
        if gateway.path:
            found([(socket.AF_UNIX, gateway.path)])
            return
        key = (gateway.host, gateway.port)
        until, addresses = self._kept.get(key, (0.0, []))
        if until < time.monotonic():
            try:
                addresses = _look_up(*key, socket.AI_NUMERICHOST)
            except OSError:
                self._ask_child(key, found)
                return
        found(addresses)

    def _ask_child(self, key: tuple[str, int], found: Found) -> None:
        read, write = os.pipe()
        if os.fork() == 0:
            _answer_lookup(*key, write)
        os.close(write)
        pipe = os.fdopen(read, "rb", buffering=0)
        heard: list[bytes] = []
        self._loop.watch(pipe, READ, lambda _: hear())

        def hear() -> None:
            piece = os.read(read, 4096)
            if piece:
                heard.append(piece)
                return
            self._loop.drop(pipe)
            addresses = [(family, tuple(address)) for family, address in json.loads(b"".join(heard) or b"[]")]
            if addresses:
                self._kept[key] = (time.monotonic() + _KEPT_S, addresses)
            found(addresses)


def _look_up(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _, _, _, address in found]


def _answer_lookup(host: str, port: int, write: int) -> None:
    """In the child: never comes back."""
    try:
        signal.set_wakeup_fd(-1)
        signal.alarm(_LOOKUP_S)
        os.write(write, json.dumps(_look_up(host, port)[:8]).encode())
    finally:
        os._exit(0)
