"""One call's request and answer on a client's connection: the HTTP side of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.answers import status_line
from services.gateway.call import Call

if TYPE_CHECKING:
    from services.gateway.protocol import GatewayProtocol


class Exchange:
    """One call's request and answer on a connection."""

    __slots__ = ("_answered", "_early", "_expects", "_headers", "_protocol", "_target", "call", "keep", "received")

    def __init__(
        self, protocol: GatewayProtocol, target: bytes, headers: dict[bytes, bytes], *, keep: bool, expects: bool
    ) -> None:
        self._protocol = protocol
        self._target = target
        self._headers = headers
        self.keep = keep
        self._expects = expects
        """The client sends its body when it is told to (`Expect: 100-continue`)."""
        self.call: Call | None = None
        self._early: list[bytes] = []
        """Body that came while the requests before this one were under way."""
        self.received = False
        """The whole request is there."""
        self._answered = False

    def start(self) -> None:
        """It is this request's turn."""
        call = self.call = self._protocol.calls.open(self, self._target, self._headers)
        if self._expects and not self._answered:
            self._expects = False
            if not self.received:
                self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        for chunk in self._early:
            call.receive(chunk)
        self._early = []
        if self.received:
            call.complete()

    # From the client

    def receive(self, chunk: bytes) -> None:
        if self.call is not None:
            self.call.receive(chunk)
        else:
            self._early.append(chunk)

    def complete(self) -> None:
        self.received = True
        if self._answered:
            self._protocol.exchanged(keep=self.keep)
        elif self.call is not None:
            self.call.complete()

    # From the call

    def send_head(self, status: int, fields: bytes, first: bytes) -> None:
        protocol = self._protocol
        if self._expects:
            self.keep = False  # it may send its body now or not, so what would follow cannot be told
        end = b"\r\n" if self.keep else b"connection: close\r\n\r\n"
        protocol.transport.write(b"".join((status_line(status), protocol.common_fields(), fields, end, first)))

    def send(self, chunk: bytes) -> None:
        self._protocol.transport.write(chunk)

    def finish(self) -> None:
        if self._answered:
            return
        self._answered = True
        if self.received or self._expects:
            self._protocol.exchanged(keep=self.keep)
        else:
            self._protocol.linger()

    def abort(self) -> None:
        self._protocol.transport.abort()
