"""A small event loop on epoll for the guardian, which may have no threads: it forks."""

from __future__ import annotations

import contextlib
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Closable(Protocol):
        def fileno(self) -> int: ...
        def close(self) -> None: ...


READ = select.EPOLLIN
WRITE = select.EPOLLOUT
PEER_CLOSED = select.EPOLLRDHUP
BROKEN = select.EPOLLERR | select.EPOLLHUP


class Loop:
    """Calls back when a file is ready. What is watched belongs to the loop until `drop` or `forget`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Closable, Callable[[int], None]]] = {}

    def watch(self, file: Closable, events: int, callback: Callable[[int], None]) -> None:
        self._epoll.register(file.fileno(), events)
        self._watched[file.fileno()] = (file, callback)

    def change(self, file: Closable, events: int) -> None:
        self._epoll.modify(file.fileno(), events)

    def forget(self, file: Closable) -> None:
        """Stop watching; does nothing if it was not watched."""
        number = file.fileno()
        if number >= 0 and self._watched.pop(number, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(number)

    def drop(self, file: Closable) -> None:
        """Stop watching and close."""
        self.forget(file)
        file.close()

    def turn(self, timeout: float) -> None:
        """Wait at most `timeout` seconds, then call back for what is ready."""
        for number, events in self._epoll.poll(max(timeout, 0.0)):
            watched = self._watched.get(number)
            if watched is not None:  # an earlier callback of this turn may have dropped it
                watched[1](events)

    def abandon(self) -> None:
        """In a forked child: close all of it here, leaving the parent's loop as it is. The epoll object is
        shared, so nothing may be unregistered."""
        for file, _ in self._watched.values():
            file.close()
        self._watched.clear()
        self._epoll.close()

    def close(self) -> None:
        self.abandon()
