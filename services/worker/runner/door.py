"""The local door: where the algorithm's own client finds the platform.

An algorithm holds no key. It is given this address, on the loopback interface, and calls the platform
through it; a request that names no identity goes on with that of the caller of the call under way. One that
brings its own keeps it. The door stands in the guardian, so it works while `apply()` holds the interpreter.
"""

from __future__ import annotations

import socket

from .exchange import Exchange, Refusal
from .listeners import listen_tcp
from .loop import READ
from .names import Names
from .protocol import PARENT_REQUEST
from .status import RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Loop
    from .spec import Spec
    from .status import Status

_MOST_OPEN = 128
"""Connections at a time; further ones wait."""


class Door:
    def __init__(self, loop: Loop, spec: Spec, status: Status) -> None:
        self.loop = loop
        self.gateways = spec.gateways
        self.names = Names(loop)
        self._pipeline = spec.pipeline
        self._status = status
        self._open: set[Exchange] = set()
        self._listener = listen_tcp("127.0.0.1", 0)
        host, port = self._listener.getsockname()
        self.address = f"http://{host}:{port}"
        loop.watch(self._listener, READ, lambda _: self._accept())

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(Exchange(self, accepted))
        if len(self._open) >= _MOST_OPEN:
            self.loop.change(self._listener, 0)

    def closed(self, exchange: Exchange) -> None:
        self._open.discard(exchange)
        if len(self._open) == _MOST_OPEN - 1:
            self.loop.change(self._listener, READ)

    def admit(self, target: str, headers: dict[str, str], *, own: bool) -> list[tuple[str, str]]:
        """The fields that the door adds to a request. Raises Refusal. `own`: whether it comes from a process
        of this replica."""
        if not own:
            raise Refusal(403, "this address serves one algorithm's own processes only")
        if not self._pipeline and target.startswith("/v1/algo"):
            raise Refusal(403, "this algorithm may not call algorithms: its settings have pipeline_enabled off")
        calls = [call for call in self._status.calls() if call.phase == RUNNING]
        fields = []
        if len(calls) == 1:
            fields.append((PARENT_REQUEST, calls[0].request_id.decode("latin-1")))
        if headers.get("authorization"):
            return fields
        if not calls:
            raise Refusal(401, "authorization required: no call is under way whose identity could be used")
        callers = {call.caller for call in calls}
        if len(callers) > 1:
            raise Refusal(401, "authorization required: calls of several callers are under way here")
        caller = callers.pop().decode("latin-1")
        if not caller:
            raise Refusal(401, "authorization required: the call under way has no identity")
        return [*fields, ("Authorization", f"Bearer {caller}")]

    def next_deadline(self) -> float | None:
        return min((each.deadline for each in self._open if each.deadline is not None), default=None)

    def sweep(self, now: float) -> None:
        """Give up what has taken too long."""
        for exchange in list(self._open):
            if exchange.deadline is not None and exchange.deadline <= now:
                exchange.expire()
