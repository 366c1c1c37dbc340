"""Two hosts of the test's own on this machine: network namespaces with a cable between them, and nothing else."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class LoneHost:
    """A host that reaches nobody but itself. Needs root and iproute2."""

    def __init__(self) -> None:
        self._name = f"cst-{os.getpid()}-0"

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self._name)

    def on(self, work: Callable[[], T]) -> T:
        """Do something there: sockets it opens and processes it starts are that host's."""
        return _inside(self._name, work)


class TwoHosts:
    """Namespaces `first` and `second`, with the addresses of the same names. Needs root and iproute2."""

    first = "10.213.74.1"
    second = "10.213.74.2"

    def __init__(self) -> None:
        self._names = {self.first: f"cst-{os.getpid()}-1", self.second: f"cst-{os.getpid()}-2"}

    def __enter__(self) -> Self:
        one, two = self._names.values()
        try:
            for name in (one, two):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", two)
            for address, name in self._names.items():
                _ip("-n", name, "address", "add", f"{address}/30", "dev", "cable")
                _ip("-n", name, "link", "set", "cable", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def on(self, address: str, work: Callable[[], T]) -> T:
        """Do something on one host: sockets it opens and processes it starts are that host's."""
        return _inside(self._names[address], work)

    def _remove(self) -> None:
        for name in self._names.values():
            _remove(name)


def _inside(name: str, work: Callable[[], T]) -> T:
    def enter() -> T:
        with Path("/run/netns", name).open() as namespace:
            if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return work()

    with ThreadPoolExecutor(1) as host:
        return host.submit(enter).result()


def _remove(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=60)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
