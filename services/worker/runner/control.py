"""The control socket: the worker asks how the replica is, and tells it to drain or to stop. A health port is one on
which nothing can be told."""

from __future__ import annotations

import json

from . import protocol, state
from .loop import READ
from .wire import BadMessage, Requests, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop
    from .wire import Request

_RECEIVE = 16 * 1024
_QUESTIONS = (protocol.HEALTH_PATH, protocol.READY_PATH)


class Control:
    """Serves HTTP/1.1 on `listener`. `actions` are called after their request is answered."""

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        health: Callable[[], dict[str, Any]],
        actions: dict[str, Callable[[], None]],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._health = health
        self._actions = actions
        loop.watch(listener, READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        requests = Requests()
        self._loop.watch(connection, READ, lambda _: self._read(connection, requests))

    def _read(self, connection: socket.socket, requests: Requests) -> None:
        try:
            data = connection.recv(_RECEIVE)
            if not data:
                self._loop.drop(connection)
                return
            requests.feed(data)
            request = requests.next()
            while request is not None:
                action = self._answer(connection, request)
                if not request.keep:
                    self._loop.drop(connection)
                if action is not None:
                    action()
                request = requests.next() if request.keep else None
        except BadMessage as error:
            connection.send(answer(error.status, "text/plain", error.message.encode(), keep=False))
            self._loop.drop(connection)
        except BlockingIOError:
            return
        except OSError:
            self._loop.drop(connection)

    def _answer(self, connection: socket.socket, request: Request) -> Callable[[], None] | None:
        """Answer, and give what is to be done then."""
        action = None
        status, members = 200, self._health()
        if request.method == "GET" and request.target in _QUESTIONS:
            if request.target == protocol.READY_PATH and members["state"] not in (state.READY, state.BUSY):
                status = 503
        elif request.method == "POST" and request.target in self._actions:
            status, action = 202, self._actions[request.target]
        elif request.target in _QUESTIONS or request.target in self._actions:
            status, members = 405, {"error": {"message": f"{request.method} is not for {request.target}"}}
        else:
            status, members = 404, {"error": {"message": f"there is no {request.target[:200]} here"}}
        body = json.dumps(members).encode()
        connection.send(answer(status, "application/json", body, keep=request.keep))
        return action
