"""One replica as a gateway sees it, and its connections: `libs.common.contracts.runner` over asyncio.

A connection carries one call at a time and is kept for the next. Answers are parsed here by hand because the wire is
that simple: a head of a few lines and a body of a known length.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from uuid import UUID

from libs.common.contracts.replicas import Address, RouteReplica
from libs.common.contracts.runner import DURATION, OUTCOME, OUTCOME_UNSTARTED, REPLICA_TOKEN, STATUSES
from libs.common.hosts import host_id
from services.gateway.router import FIRST_PACE, ahead_of, next_pace

if TYPE_CHECKING:
    from services.gateway.call import Call
    from services.gateway.pool import Pool

MAX_HEAD = 16 * 1024
_JOIN_BELOW = 64 * 1024
"""Bodies up to this size are copied behind their head, so that one write carries both."""
_AVOID_SECONDS = 0.25
_AVOID_MOST = 8.0
_OUTCOME = OUTCOME.encode()
_DURATION = DURATION.encode()
_USUAL_HEAD = re.compile(
    rb"HTTP/1\.1 (%b)[^\r]*\r\ncontent-type: ([^\r]*)\r\ncontent-length: (\d{1,12})\r\n"
    rb"%b: (\w+)\r\n%b: (\d+\.\d+)" % (b"|".join(b"%d" % one for one in sorted(STATUSES)), _OUTCOME, _DURATION)
)
"""What the platform's runner writes: matching it costs a third of taking it apart line by line."""
_UNSTARTED = OUTCOME_UNSTARTED.encode()


class Replica:
    """Where calls of one revision can run."""

    __slots__ = (
        "_pace",
        "_trips",
        "address",
        "ahead",
        "avoid_until",
        "concurrency",
        "fields",
        "gone",
        "id",
        "idle",
        "outstanding",
        "pool",
    )

    def __init__(self, pool: Pool, route: RouteReplica) -> None:
        self.pool = pool
        self.id: UUID = route.id
        self.address = route.address
        self.concurrency = route.concurrency
        self.outstanding = 0
        self.ahead = 0
        self._pace = FIRST_PACE
        self.avoid_until = 0.0
        self.gone = False
        """The route names it no more. Calls under way finish, no further one is sent."""
        self.idle: list[ReplicaConnection] = []
        self._trips = 0
        local = is_local(route.address)
        self.fields = f"{REPLICA_TOKEN}: {route.address.token}\r\n" if route.address.token and not local else ""
        """Header lines of each call to this replica."""

    async def connect(self) -> ReplicaConnection:
        """A new connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        address = self.address
        if is_local(address):
            _, protocol = await loop.create_unix_connection(lambda: ReplicaConnection(self), address.unix)
        elif address.host is not None and address.port is not None:
            _, protocol = await loop.create_connection(lambda: ReplicaConnection(self), address.host, address.port)
        else:
            raise OSError("the replica listens on another host's Unix socket only")
        self._trips = 0
        return protocol

    def took(self, seconds: float) -> None:
        """It ran a call for so long."""
        self._pace = pace = next_pace(self._pace, seconds)
        self.ahead = ahead_of(pace)

    def trip(self, now: float) -> None:
        """It could not be reached, or did not take a call: leave it alone for a moment, longer each time."""
        self.avoid_until = now + min(_AVOID_SECONDS * 2**self._trips, _AVOID_MOST)
        self._trips = min(self._trips + 1, 10)

    def retire(self) -> None:
        """No further calls. Connections close when their call is over."""
        self.gone = True
        for connection in self.idle:
            connection.close()
        self.idle.clear()


class ReplicaConnection(asyncio.Protocol):
    """Sends one call at a time and tells it of the answer."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.call: Call | None = None
        self._transport: asyncio.Transport
        self._head = b""
        self._missing = 0
        """Bytes of the answer's body that have not come yet."""
        self._keep = True
        """The replica leaves the connection open after the answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def send(self, call: Call, head: bytes, body: bytes) -> None:
        self.call = call
        if len(body) < _JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._take_body(data)
            return
        if self._head:
            data = self._head + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            if len(data) > MAX_HEAD:
                self._break()
            return
        call = self.call
        if call is None:
            self._break()
            return
        try:
            status, content_type, outcome, length, seconds, self._keep = parse_head(data[:end])
        except ValueError:
            self._break()
            return
        body = data[end + 4 :]
        self._missing = length - len(body)
        if self._missing < 0:
            body = self._before_farewell(body, length)
        self._head = b""
        self.replica.took(seconds)
        if outcome == _UNSTARTED:
            # What follows the head is of no use to anybody; the sender closes.
            self.call = None
            self._transport.abort()
            self.replica.pool.unstarted(self.replica, call)
        elif self._missing == 0:
            self._free()
            call.answered(status, content_type, outcome, body)
        else:
            call.answer_begun(status, content_type, outcome, length, body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended changes nothing
        call, self.call = self.call, None
        if call is not None:
            self.replica.pool.lost(self.replica)
            call.replica_lost()
        elif self in self.replica.idle:
            self.replica.idle.remove(self)

    @property
    def is_open(self) -> bool:
        """False once the other side has hung up, which may be known before `connection_lost` says so."""
        return not self._transport.is_closing()

    def pause(self) -> None:
        """The client is slower than the replica: read no further."""
        if self.is_open:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.is_open:
            self._transport.resume_reading()

    def close(self) -> None:
        self._transport.close()

    def give_up(self) -> None:
        """Nobody waits for the answer any more. The call's part is over before this."""
        if self.call is not None:
            self.call = None
            self.replica.pool.lost(self.replica)
        self._transport.abort()

    def _take_body(self, data: bytes) -> None:
        call = self.call
        if call is None:
            self._break()
            return
        if len(data) > self._missing:
            data = self._before_farewell(data, self._missing)
        self._missing -= len(data)
        if self._missing:
            call.answer_continued(data)
        else:
            self._free()
            call.answer_ended(data)

    def _before_farewell(self, data: bytes, length: int) -> bytes:
        """What belongs to the answer. A replica that ends says on each connection that it begins nothing more, also
        right behind an answer."""
        self._missing = 0 if self._missing < 0 else self._missing
        self._keep = False
        return data[:length]

    def _free(self) -> None:
        self.call = None
        self.replica.pool.free(self, keep=self._keep)

    def _break(self) -> None:
        """The other side does not keep to the protocol. What is under way is lost with the connection."""
        self._transport.abort()


def parse_head(head: bytes) -> tuple[int, bytes, bytes, int, float, bool]:
    """Status, content type, outcome, content length, seconds of the call, and whether the connection stays open.

    Raises ValueError for a head that is not that of an answer with a known length, or has a status that no replica
    gives: some say that no body follows, and what follows would be the client's next answer.
    """
    if usual := _USUAL_HEAD.fullmatch(head):
        status, content_type, length, outcome, seconds = usual.groups()
        return int(status), content_type, outcome, int(length), float(seconds), True
    first, *lines = head.split(b"\r\n")
    if not first.startswith(b"HTTP/1.1 "):
        raise ValueError("not an answer of HTTP/1.1")
    status = int(first[9:12])
    if status not in STATUSES:
        raise ValueError(f"{status} is not a status of replicas")
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    size = int(fields.get(b"content-length", b"-1"))
    if size < 0:
        raise ValueError("the answer's length is not known")
    return (
        status,
        fields.get(b"content-type", b""),
        fields.get(_OUTCOME, b""),
        size,
        float(fields.get(_DURATION, FIRST_PACE)),
        fields.get(b"connection", b"").lower() != b"close",
    )


def is_local(address: Address) -> bool:
    """The replica's Unix socket can be opened from here."""
    return address.unix is not None and address.host_id == host_id()


def is_reachable(address: Address) -> bool:
    return is_local(address) or (address.host is not None and address.port is not None)
