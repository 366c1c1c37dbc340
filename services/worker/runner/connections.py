"""The guardian's copies of the gateways' connections.

Each accepted connection is passed to the host and kept here too: when the host dies, the call under way is
answered on the copy, and the others are passed to the next host with all that they have not been read of.
"""

from __future__ import annotations

import array
import collections
import contextlib
import errno
import socket
import time

from . import answers
from .host import HANDOVER
from .loop import PEER_CLOSED, READ
from .protocol import MAX_CONNECTIONS
from .wire import BadMessage, head_end, parse_fields, shows_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Loop
    from .status import Status

_DISCARD = 1024 * 1024
_LINGER_S = 1.0
_STRANGER_S = 10.0
_HEAD = 64 * 1024
_KEEPALIVE_S = 60
"""After which a gateway's host that is gone without a word begins to be noticed."""


class Connection:
    """`place` is its row in the shared status, not used again before this one is closed."""

    __slots__ = ("place", "remote", "since", "socket")

    def __init__(self, accepted: socket.socket, place: int, *, remote: bool) -> None:
        self.socket = accepted
        self.place = place
        self.remote = remote
        self.since = time.monotonic()


class Connections:
    def __init__(self, loop: Loop, status: Status, token: str | None) -> None:
        """`token`: what remote ones are to show, if they are to show one."""
        self._loop = loop
        self._status = status
        self._token = (token or "").encode()
        self._strangers: list[Connection] = []
        """Those that have not shown it yet."""
        self._listeners: list[socket.socket] = []
        self._open: dict[int, Connection] = {}
        self._free = collections.deque(range(MAX_CONNECTIONS))
        self._waiting: collections.deque[Connection] = collections.deque()
        self._hung_up: list[Connection] = []
        self._channel: socket.socket | None = None
        self._paused = False
        self._lingering: dict[Connection, float] = {}

    def listen(self, listener: socket.socket, *, remote: bool) -> None:
        """Take connections from it. `remote` ones must show the replica's token."""
        self._listeners.append(listener)
        self._loop.watch(listener, READ, lambda _: self._accept(listener, remote=remote))

    def stop_listening(self) -> None:
        for listener in self._listeners:
            self._loop.drop(listener)
        self._listeners = []

    def attach(self, channel: socket.socket) -> None:
        """A new host: pass it all that are open."""
        self._channel = channel
        self._waiting = collections.deque(self._open.values())
        self.pass_on()

    def detach(self) -> None:
        self._channel = None
        self._know_trusted()  # before what the host wrote is forgotten

    def pass_on(self) -> None:
        """Pass to the host what waits for it. It may be busy for long, and its channel full."""
        while self._waiting and self._channel is not None:
            connection = self._waiting[0]
            if self._open.get(connection.place) is connection:
                message = HANDOVER.pack(connection.place, connection.remote)
                rights = array.array("i", [connection.socket.fileno()])
                try:
                    self._channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                except OSError:
                    return
            self._waiting.popleft()

    def refuse_waiting(self, reason: str) -> None:
        """Those that the host was never given, and now will not be."""
        for connection in self._waiting:
            if self._open.get(connection.place) is connection:
                self._dismiss(connection, reason)
        self._waiting.clear()

    def refuse(self, place: int, reason: str) -> None:
        """One that the host could not take."""
        connection = self._open.get(place)
        if connection is not None:
            self._dismiss(connection, reason)

    def send(self, place: int, data: bytes) -> None:
        """An answer in the host's place. It fits any socket's buffer, unless the gateway does not read."""
        connection = self._open.get(place)
        if connection is None:
            return
        with contextlib.suppress(OSError):
            if connection.socket.send(data) == len(data):
                return
        self._drop(connection)

    def drop(self, place: int) -> None:
        if place in self._open:
            self._drop(self._open[place])

    def settle_partial(self, begun: set[int], reason: str) -> None:
        """The host is dead: end the connections of which it had read a part of a request. Those at places
        in `begun` have had their answer."""
        for connection in list(self._open.values()):
            if self._status.is_partial(connection.place):
                if connection.place not in begun:
                    self.send(connection.place, answers.unstarted(reason))
                self._linger(connection)

    def sweep(self, busy: set[int]) -> None:
        """Close those that gateways left while their call ran, once it has ended. Listen again if there is room."""
        now = time.monotonic()
        self._close_strangers(now)
        for connection in [each for each, until in self._lingering.items() if until <= now]:
            self._end_linger(connection)
        if self._paused and self._free:
            self._paused = False
            for listener in self._listeners:
                self._loop.change(listener, READ)
        for connection in [each for each in self._hung_up if each.place not in busy]:
            self._hung_up.remove(connection)
            self._drop(connection)

    def _know_trusted(self) -> None:
        self._strangers = [
            each
            for each in self._strangers
            if self._open.get(each.place) is each and not self._status.is_trusted(each.place)
        ]

    def _close_strangers(self, now: float) -> None:
        """They have a place for a while only: whoever can connect could take all of them, and send nothing."""
        self._know_trusted()
        for connection in [each for each in self._strangers if now - each.since >= _STRANGER_S]:
            if not self._will_be_trusted(connection):
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)  # the host has a copy
                self._drop(connection)

    def _will_be_trusted(self, connection: Connection) -> bool:
        """Whether it has sent the token to a host that is too busy to read it."""
        try:
            sent = connection.socket.recv(_HEAD, socket.MSG_PEEK)
            end = head_end(sent)
            lines = sent[: max(end, 0)].decode("latin-1").split("\r\n")
            return shows_token(parse_fields(lines[1:]), self._token)
        except (OSError, BadMessage):
            return False

    def close(self, reason: str) -> None:
        self.stop_listening()
        for connection in list(self._open.values()):
            self._dismiss(connection, reason)

    @property
    def is_closing(self) -> bool:
        """Whether answers may still be on their way."""
        return bool(self._lingering)

    def abandon(self) -> None:
        """In a forked process: close them here only. Those that the loop watches it closes itself."""
        for connection in (*self._open.values(), *self._lingering):
            connection.socket.close()

    def _accept(self, listener: socket.socket, *, remote: bool) -> None:
        while self._free:
            try:
                accepted, _ = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._pause()
                break
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
            self._add(accepted, remote=remote)
        self.pass_on()
        if not self._free:
            self._pause()

    def _pause(self) -> None:
        """No room: leave those that wait to the listeners' backlog until the next sweep finds some."""
        self._paused = True
        for listener in self._listeners:
            self._loop.change(listener, 0)

    def _add(self, accepted: socket.socket, *, remote: bool) -> None:
        connection = Connection(accepted, self._free.popleft(), remote=remote)
        self._open[connection.place] = connection
        self._status.set_trusted(connection.place, trusted=False)
        if remote and self._token:
            self._strangers.append(connection)
        self._loop.watch(accepted, PEER_CLOSED, lambda _: self._hang_up(connection))
        self._waiting.append(connection)

    def _hang_up(self, connection: Connection) -> None:
        self._loop.forget(connection.socket)
        if any(call.place == connection.place for call in self._status.calls()):
            self._hung_up.append(connection)
        else:
            self._drop(connection)

    def _dismiss(self, connection: Connection, reason: str) -> None:
        """Close it, and say that whatever comes was not begun: a call may be on its way at this very moment."""
        self.send(connection.place, answers.unstarted(reason))
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Close it, but first read what the gateway is still sending: to close with that unread would take the
        answer away from it."""
        if self._open.get(connection.place) is not connection:
            return
        del self._open[connection.place]
        self._loop.forget(connection.socket)
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_WR)
        self._lingering[connection] = time.monotonic() + _LINGER_S
        self._loop.watch(connection.socket, READ, lambda _: self._discard(connection))

    def _discard(self, connection: Connection) -> None:
        try:
            if connection.socket.recv(_DISCARD):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end_linger(connection)

    def _end_linger(self, connection: Connection) -> None:
        del self._lingering[connection]
        self._loop.drop(connection.socket)
        self._free.append(connection.place)

    def _drop(self, connection: Connection) -> None:
        if self._open.get(connection.place) is not connection:
            return
        del self._open[connection.place]
        self._loop.drop(connection.socket)
        self._free.append(connection.place)
