"""The HTTP connections of clients: uvicorn's, with calls of algorithms answered before ASGI.

A round trip through ASGI costs more than all that a gateway has to do for a call. So `POST /v1/algo/...` is taken off
here, while the request is parsed, and every other request goes on to the application, on the same port and the same
connections. Requests of one connection are answered in their order, one at a time, whichever way they take.

Reads bytes and writes bytes; what a call means is in `calls.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

import httptools
from fastapi import FastAPI
from starlette.datastructures import State
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from libs.common import logs
from libs.common.problems import Invalid, Problem
from services.gateway.admission import is_call
from services.gateway.answers import RequestTimeout
from services.gateway.calls import Calls
from services.gateway.clock import Clock
from services.gateway.exchange import Exchange
from services.gateway.flow import Flow
from services.gateway.settings import GatewaySettings

log = logs.get(__name__)

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
LINGER_SECONDS = 30.0
"""A client that was answered before it had sent all may send the rest for so long: many read no answer before."""
FAREWELL_SECONDS = 1.0
"""When the server stops, a client that has no request under way may begin one more for so long: it may be sending one
at this moment, which would be lost."""
WRITE_AHEAD = 1024 * 1024
"""Bytes of answers that are kept for a slow client before its replica has to wait."""
NEVER = float("inf")
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})
_HEAD_TOO_LARGE = ("431 Request Header Fields Too Large", "the request's head is too large")


class Gateway(Protocol):
    """What connections need of the gateway."""

    calls: Calls
    settings: GatewaySettings
    clock: Clock
    clients: set[GatewayProtocol]
    """Connections that are open."""


class GatewayProtocol(HttpToolsProtocol):
    """Given to uvicorn as its HTTP class, by `http_protocol`."""

    serves: State
    """Of the application. Its `gateway` is there by the time of the first connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        gateway: Gateway = self.serves.gateway
        self.calls = gateway.calls
        self._clients = gateway.clients
        self._settings = gateway.settings
        self._clock = gateway.clock
        self.ws_protocol_class = None
        self._current: Exchange | RequestResponseCycle | None = None
        """Whose turn it is."""
        self._incoming: Exchange | None = None
        """The call whose body arrives; None while that of another request does."""
        self._waiting: deque[Exchange | tuple[RequestResponseCycle, Any]] = deque()
        self._advancing = False
        self._head_bytes = 0
        self._deadline = NEVER
        """When the client will have been too slow, or idle for too long."""
        self._unsent = 0
        """Bytes of answers that the client had not taken when it was last looked at."""
        self._closing = False
        """The answer that is under way, or the next one, is the last."""
        self._broken = False
        """What arrives cannot be read any more."""
        self._common: list[tuple[bytes, bytes]] | None = None
        self._common_fields = b""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self._waiting)
        if len(self._clients) >= self._settings.max_connections:
            transport.abort()
            return
        self._clients.add(self)
        transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self._deadline = self._clock.now + self._settings.head_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._clients.discard(self)
        self._waiting.clear()
        current, self._current = self._current, None
        if isinstance(current, RequestResponseCycle):
            current.disconnected = True
            current.message_event.set()
        elif current is not None and current.call is not None:
            current.call.client_lost()

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self._broken:
            return
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._refuse_callback(error)
        except httptools.HttpParserError:
            self._refuse("400 Bad Request", "this is not HTTP/1.1")
        else:
            if self._head_bytes > MAX_HEAD:
                self._refuse(*_HEAD_TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()
        if isinstance(self._current, Exchange) and self._current.call is not None:
            self._current.call.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._current is None:
            self._next()
            return
        self._deadline = NEVER
        if isinstance(self._current, Exchange) and self._current.call is not None:
            self._current.call.resume()

    def shutdown(self) -> None:
        """The server stops: close after the answer that is under way, or one more."""
        self._closing = True
        if self._current is None:
            self._deadline = min(self._deadline, self._clock.now + FAREWELL_SECONDS)
        elif isinstance(self._current, RequestResponseCycle):
            self._current.keep_alive = False
        else:
            self._current.keep = False

    def is_late(self, now: float) -> bool:
        """The client was too slow, or silent for too long."""
        return self._deadline <= now

    def sweep(self) -> None:
        """End the connection of a client that is late, unless it has taken something of its answer meanwhile."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent < self._unsent:
                self._watch_sending()
            else:
                self.transport.abort()
            return
        current = self._current
        if isinstance(current, Exchange) and current.call is not None:
            seconds = self._settings.body_seconds
            current.call.fail(RequestTimeout(f"the input did not arrive within {seconds:g} seconds"))
        self._close()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        if self._current is None:
            self._deadline = self._clock.now + self._settings.head_seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if (self._head_bytes > MAX_HEAD and self._measure_head() > MAX_HEAD) or len(self.headers) > MAX_HEADERS:
            raise HeadTooLargeError
        self._head_bytes = 0
        if self.parser.should_upgrade():
            return  # the parser takes what follows for another protocol, and ends: `_decline_upgrade`
        if self.url[:1] != b"/":
            self.url = _origin_form(self.url)
        if is_call(self.url) and self.parser.get_method() == b"POST":
            self._begin_call()
        else:
            self._begin_other()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self._incoming is not None:
            self._incoming.receive(body)
        elif self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            if incoming is self._current:
                self._deadline = NEVER
            incoming.complete()
        elif self.cycle is not None:
            super().on_message_complete()

    def _begin_call(self) -> None:
        parser = self.parser
        headers = dict(self.headers)
        keep = parser.should_keep_alive() and not self._closing
        if keep and b"connection" in headers:  # HTTP/1.0 is not kept alive here, even when it asks for that
            keep = parser.get_http_version() == "1.1"
        expects = headers.get(b"expect", b"").lower() == b"100-continue"
        exchange = Exchange(self, self.url, headers, keep=keep, expects=expects)
        self._incoming = exchange
        if self._current is None and not self.flow.write_paused:
            self._deadline = self._clock.now + self._settings.body_seconds
            self._current = exchange
            exchange.start()
        else:
            self._queue(exchange)

    def _begin_other(self) -> None:
        """Let uvicorn begin the request, which takes its scope from what was parsed."""
        self._incoming = None
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.expect_100_continue = (b"expect", b"100-continue") in headers
        self.scope["headers"] = headers
        super().on_headers_complete()
        self.headers = []  # for trailers, which nobody reads
        while self.pipeline:  # uvicorn has put it behind one of its own; here all wait in one line
            self._queue(self.pipeline.pop())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._current is None:
            self._current = cycle
            self._deadline = NEVER
            cycle.keep_alive = cycle.keep_alive and not self._closing
            super()._start_asgi_task(cycle, app)
        else:
            self._queue((cycle, app))

    # Turns

    def _queue(self, request: Exchange | tuple[RequestResponseCycle, Any]) -> None:
        self._waiting.append(request)
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """The application has answered."""
        self.server_state.total_requests += 1
        self._next()

    def exchanged(self, *, keep: bool) -> None:
        """A call was answered, and its request is read to the end."""
        self.server_state.total_requests += 1
        if not keep:
            self._closing = True
        self._next()

    def linger(self) -> None:
        """A call was answered while its request still arrives: let it, but not for ever."""
        self._deadline = self._clock.now + LINGER_SECONDS

    def _next(self) -> None:
        self._current = None
        if self._closing or self.transport.is_closing():
            self._waiting.clear()
            self._close()
            return
        if self._advancing:
            return
        self._advancing = True
        # A client that takes no answers gets no further ones: its next request waits until it does.
        while self._current is None and self._waiting and not (self._closing or self.flow.write_paused):
            request = self._waiting.popleft()
            if isinstance(request, Exchange):
                self._deadline = NEVER if request.received else self._clock.now + self._settings.body_seconds
                self._current = request
                request.start()
            else:
                self._start_asgi_task(*request)
        self._advancing = False
        self.flow.resume_reading()
        if self._current is None and not self._closing:
            self._deadline = self._clock.now + self._settings.keep_alive_seconds

    def _close(self) -> None:
        """Let the client take what is written, and hang up."""
        self._watch_sending()
        self.transport.close()

    def _watch_sending(self) -> None:
        """From now on the client has to take something of its answer from time to time."""
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline = self._clock.now + self._settings.stall_seconds

    # Answers

    def common_fields(self) -> bytes:
        """Header lines that every answer of this server has. They change with the clock."""
        current = self.server_state.default_headers
        if current is not self._common:
            self._common = current
            self._common_fields = b"".join(b"%b: %b\r\n" % field for field in current)
        return self._common_fields

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as RFC 9110 (7.8) allows: the same request again, without the wish.

        Some clients wish for HTTP/2 with each request that they send.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse("405 Method Not Allowed", "this is no proxy")
            return
        head = [b"%b %b HTTP/1.1" % (method, self.url)]
        head += [b"%b: %b" % field for field in self.headers if field[0] not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def _measure_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_callback(self, error: httptools.HttpParserCallbackError) -> None:
        cause = error.__context__
        if isinstance(cause, HeadTooLargeError):
            self._refuse(*_HEAD_TOO_LARGE)
        elif isinstance(cause, httptools.HttpParserError | UnicodeDecodeError):
            self._refuse("400 Bad Request", "the request's address cannot be read")
        else:
            log.error("request_failed", exc_info=cause)
            if isinstance(self._current, Exchange) and self._current.call is not None:
                self._current.call.fail(Problem("internal error"))
            self._refuse("500 Internal Server Error", "internal error")
            self._close()

    def _refuse(self, status: str, words: str) -> None:
        """Answer what cannot be parsed, and close. An answer that is under way comes first."""
        self._broken = self._closing = True
        current = self._current
        if isinstance(current, Exchange) and current.call is not None:
            if current is self._incoming:
                current.call.fail(Invalid("the input cannot be read: it is not framed as HTTP/1.1 says"))
                self._close()
        elif isinstance(current, RequestResponseCycle):
            if current.more_body:
                self._close()
        else:
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(words)}\r\nconnection: close"
            )
            self.transport.write(f"{head}\r\n\r\n{words}".encode())
            self._close()


class HeadTooLargeError(Exception):
    """More header lines or bytes than a request may have."""


def http_protocol(app: FastAPI) -> type[GatewayProtocol]:
    """What uvicorn serves the application with: `uvicorn.Config(app, http=http_protocol(app), ws="none", ...)`."""

    class Bound(GatewayProtocol):
        pass

    Bound.serves = app.state
    return Bound


def _origin_form(url: bytes) -> bytes:
    """The path and query of a target that clients of proxies send with scheme and host (RFC 9112, 3.2.2)."""
    parsed = httptools.parse_url(url)
    query: bytes = b"?" + parsed.query if parsed.query else b""
    path: bytes = parsed.path or b"/"
    return path + query
