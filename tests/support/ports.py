"""Ports for servers that tests start, stop and start again."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

_LOWEST = 10_000
_HIGHEST = 32_768


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on, each given once.

    They are none of those that the kernel gives away by itself, to clients and to listeners on port 0, and each of
    the processes that pytest-xdist runs has its own: so nobody takes one before it is used, or while its server is
    down.
    """
    free = (port for port in _own if _is_free(port))
    return list(itertools.islice(free, count))


def _own_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = list(range(_LOWEST + worker, _end(), workers))
    start = random.SystemRandom().randrange(len(own))
    return itertools.cycle(own[start:] + own[:start])


def _end() -> int:
    """Where the kernel's own ports begin (ip(7), `ip_local_port_range`), if that leaves enough."""
    with contextlib.suppress(OSError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if first > _LOWEST + 1000:
            return min(first, _HIGHEST)
    return _HIGHEST


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_own = _own_ports()
