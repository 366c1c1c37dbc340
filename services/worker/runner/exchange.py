"""One connection of an algorithm's client to the local door, and the gateway's end of each request on it.

Bodies stream both ways in pieces, as they are; only heads are read and written anew. Each request has a
connection of its own to a gateway. The client's stays open in between.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from . import answers, peers
from .answers import Failure
from .loop import BROKEN, READ, WRITE
from .wire import BadMessage, Framing, head_end, parse_fields, split_request_line, wants_keep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .door import Door
    from .spec import Gateway

_PIECE = 64 * 1024
_MOST_HELD = 256 * 1024
"""Bytes on their way to a side that takes no more for now, before reading from the other pauses."""
_CONNECT_S = 5.0
_LINGER_S = 2.0
_DROPPED = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "host"})

WAITING = 0
"""For a request's head."""
SEEKING = 1
"""A gateway that can be connected to."""
RELAYING = 2
ENDING = 3
"""The last answer is on its way to the client; then close."""
CLOSED = 4


class Refusal(Exception):
    """The request is not forwarded."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Exchange:
    """`deadline`, on the monotonic clock, is when the attempt to connect is given up, or the wait for the
    client to close."""

    def __init__(self, door: Door, client: socket.socket) -> None:
        self._door = door
        self._loop = door.loop
        self._client = client
        self._server: socket.socket | None = None
        self._state = WAITING
        self._own: bool | None = None
        self._heard = bytearray()
        self._to_server = bytearray()
        self._to_client = bytearray()
        self._answer = bytearray()
        self._head_done = False
        self._request: Framing = Framing()
        self._response: Framing | None = None
        self._method = ""
        self._keep = True
        self._head = b""
        self._fields: list[tuple[str, str]] = []
        self._untried: list[tuple[Gateway, int, Any]] = []
        self._gateways: list[Gateway] = []
        self.deadline: float | None = None
        self._loop.watch(client, READ, self._client_ready)

    # The client's side

    def _client_ready(self, events: int) -> None:
        try:
            with contextlib.suppress(BlockingIOError):
                if events & WRITE:
                    self._flush_client()
                if events & (READ | BROKEN):
                    self._read_client()
        except OSError:
            self.close()
        self._update()

    def _read_client(self) -> None:
        piece = self._client.recv(_PIECE)
        if not piece:
            self.close()
        elif self._state != ENDING:
            self._heard += piece
            self._advance()

    def _advance(self) -> None:
        """Take the next head, or pieces of a body, from what the client has sent."""
        try:
            if self._state == WAITING:
                self._begin()
            if self._state in (SEEKING, RELAYING):
                count = self._request.take(self._heard)
                self._to_server += self._heard[:count]
                del self._heard[:count]
        except BadMessage as error:
            self._refuse(error.status, error.message)

    def _begin(self) -> None:
        end = head_end(self._heard)
        if end < 0:
            return
        lines = bytes(self._heard[:end]).decode("latin-1").split("\r\n")
        del self._heard[: end + 4]
        method, target, version = split_request_line(lines[0])
        headers = parse_fields(lines[1:])
        self._response = None
        self._keep = wants_keep(headers.get("connection", ""), version)
        self._method = method
        self._request = Framing.of_request(headers)
        if self._own is None:
            self._own = peers.is_own(self._client)
        try:
            fields = self._door.admit(target, headers, own=self._own)
        except Refusal as error:
            self._refuse(error.status, error.message)
            return
        added = {name.lower() for name, _ in fields}
        kept = [line for line in lines[1:] if line.partition(":")[0].lower() not in _DROPPED | added]
        written = [f"{method} {target} HTTP/1.1", *kept, *(f"{name}: {value}" for name, value in fields)]
        self._head = "\r\n".join(written).encode("latin-1")
        self._answer.clear()
        self._state = SEEKING
        self._gateways = list(self._door.gateways)
        self._untried = []
        self._seek()

    # The gateway's side

    def _seek(self) -> None:
        """Try the next address, or look up those of the next gateway."""
        self._drop_server()
        if self._untried:
            gateway, family, address = self._untried.pop(0)
            self._connect(gateway, family, address)
        elif self._gateways:
            gateway = self._gateways.pop(0)
            self.deadline = time.monotonic() + _CONNECT_S
            self._door.names.find(gateway, lambda found: self._found(gateway, found))
        else:
            self._refuse(502, "no gateway of the platform could be reached")

    def _found(self, gateway: Gateway, addresses: list[tuple[int, Any]]) -> None:
        if self._state == SEEKING and self._server is None:
            self._untried += [(gateway, family, address) for family, address in addresses]
            self._seek()
            self._update()

    def _connect(self, gateway: Gateway, family: int, address: Any) -> None:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        code = server.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            server.close()
            self._seek()
            return
        self._server = server
        self.deadline = time.monotonic() + _CONNECT_S
        self._loop.watch(server, WRITE, lambda events: self._server_ready(gateway, events))

    def expire(self) -> None:
        """It has taken too long."""
        if self._state == ENDING:
            self.close()
            return
        self._seek()
        self._update()

    def _server_ready(self, gateway: Gateway, events: int) -> None:
        server = self._server
        if server is None:
            return
        try:
            if self._state == SEEKING:
                code = server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._seek()
                else:
                    self._connected(gateway)
            with contextlib.suppress(BlockingIOError):
                if self._state == RELAYING and events & WRITE:
                    self._flush_server(server)
                if self._state == RELAYING and events & (READ | BROKEN):
                    self._read_server(server)
        except BadMessage:
            self._fail()
        except OSError:
            self._fail()
        self._update()

    def _connected(self, gateway: Gateway) -> None:
        self.deadline = None
        self._state = RELAYING
        own = f"\r\nHost: {gateway.authority}\r\nConnection: close\r\n\r\n".encode("latin-1")
        self._to_server[:0] = self._head + own

    def _flush_server(self, server: socket.socket) -> None:
        if self._to_server:
            try:
                sent = server.send(self._to_server)
            except (BrokenPipeError, ConnectionResetError):
                self._to_server.clear()  # its answer may be there nevertheless
                return
            del self._to_server[:sent]

    def _read_server(self, server: socket.socket) -> None:
        piece = server.recv(_PIECE)
        if not piece:
            if self._response is not None and self._response.until_end:
                self._keep = False
                self._finish()
            else:
                self._fail()
            return
        self._answer += piece
        while self._state == RELAYING:
            if self._response is None and not self._take_answer_head():
                return
            if self._response is None:  # an interim answer has gone by
                continue
            count = self._response.take(self._answer)
            self._to_client += self._answer[:count]
            del self._answer[:count]
            if self._response.done:
                self._finish()
            return

    def _take_answer_head(self) -> bool:
        """Pass on the head of an answer. False while it is not whole."""
        end = head_end(self._answer)
        if end < 0:
            return False
        lines = bytes(self._answer[:end]).decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise BadMessage(502, "malformed status line")
        headers = parse_fields(lines[1:])
        status = int(parts[1])
        del self._answer[: end + 4]
        kept = [line for line in lines if line.partition(":")[0].lower() not in _DROPPED]
        if status >= 200:
            self._response = Framing.of_answer(self._method, status, headers)
            if self._response.until_end or not self._request.done:
                self._keep = False
            if not self._keep:
                kept.append("connection: close")
        self._to_client += ("\r\n".join(kept) + "\r\n\r\n").encode("latin-1")
        return True

    # Ends

    def _finish(self) -> None:
        """The answer is whole."""
        self._drop_server()
        self._to_server.clear()
        if not self._keep:
            self._state = ENDING
            return
        self._state = WAITING
        self._advance()

    def _fail(self) -> None:
        """The gateway went away. Nothing is sent again: it may have been done."""
        if self._response is None:
            self._refuse(502, "the gateway closed the connection without an answer")
        else:
            self.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer in the gateway's place, and end: a body may be on its way that nobody reads."""
        self._drop_server()
        if self._response is not None:  # an answer has begun: there is no room for another
            self.close()
            return
        failure = Failure(message, answers.SYSTEM_ERROR)
        self._to_client += answers.failure_answer(failure, status=status, keep=False)
        self._state = ENDING

    def _flush_client(self) -> None:
        if self._to_client:
            sent = self._client.send(self._to_client)
            del self._to_client[:sent]

    def _drop_server(self) -> None:
        self.deadline = None
        if self._server is not None:
            self._loop.drop(self._server)
            self._server = None

    def close(self) -> None:
        if self._state == CLOSED:
            return
        self._state = CLOSED
        self._drop_server()
        self._loop.drop(self._client)
        self._door.closed(self)

    def _update(self) -> None:
        """Ask the loop for what each side can do now."""
        if self._state == CLOSED:
            return
        if self._state == ENDING and not self._to_client and self.deadline is None:
            # What the client still sends must be read, or the reset would overtake the answer.
            self.deadline = time.monotonic() + _LINGER_S
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)
        events = WRITE if self._to_client else 0
        if len(self._to_server) < _MOST_HELD and len(self._heard) < _MOST_HELD:
            events |= READ
        self._loop.change(self._client, events)
        if self._server is not None and self._state == RELAYING:
            events = WRITE if self._to_server else 0
            if len(self._to_client) < _MOST_HELD:
                events |= READ
            self._loop.change(self._server, events)
