"""The process that holds the algorithm: loads it once and answers its calls, one at a time.

Forked by the guardian, in a session of its own. Connections come from the guardian over `channel`; it keeps
a copy of each, so closing one here takes a shutdown first. With a concurrency of N this is done by N
threads that take turns at one epoll; else by the main thread, where `apply()` then runs.
"""

from __future__ import annotations

import array
import contextlib
import errno
import io
import json
import os
import select
import signal
import socket
import struct
import sys

from . import answers, calls, protocol
from .answers import Failure
from .linux import die_with, line_buffer_c_stdout
from .spec import PIPE, PYTHON
from .wire import BadMessage, Requests, answer, shows_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .pipes import PipeAlgorithm
    from .spec import Spec
    from .status import Slot, Status
    from .wire import Request

HANDOVER = struct.Struct("<HB")
"""With each connection: its place in the guardian's table, and whether it came over TCP."""
_RECEIVE = 64 * 1024
_RECEIVE_MOST = 1024 * 1024
_SEND_STALL_S = 60.0
_ASK_EVERY_S = 0.1
_OOM_SCORE = b"500"


class Seat:
    """What the guardian leaves to the process that it forks."""

    __slots__ = ("channel", "guardian", "output", "spec", "status")

    def __init__(self, spec: Spec, status: Status, output: int, channel: socket.socket, guardian: int) -> None:
        self.spec = spec
        self.status = status
        self.output = output
        self.channel = channel
        self.guardian = guardian


class Connection:
    """One connection of a gateway."""

    __slots__ = ("place", "receive", "remote", "requests", "socket")

    def __init__(self, descriptor: int, place: int, remote: bool) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.receive = self.socket.recv
        self.place = place
        self.remote = remote
        self.requests = Requests()

    def send(self, data: bytes) -> None:
        """All of it. Raises OSError when the gateway is gone or takes nothing for too long."""
        sent = self._send_some(data)
        if sent == len(data):
            return
        view = memoryview(data)[sent:]
        poll = select.poll()
        poll.register(self.socket, select.POLLOUT)
        while view:
            if not poll.poll(_SEND_STALL_S * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "the gateway does not take the answer")
            view = view[self._send_some(view) :]

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0


class Host:
    def __init__(self, seat: Seat) -> None:
        self._spec = seat.spec
        self._status = seat.status
        self._output = seat.output
        self._channel = seat.channel
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._leaving = False
        self._pipe: PipeAlgorithm | None = None
        self._threads = seat.spec.concurrency > 1
        # With several threads a connection's readiness is told to one of them only.
        self._events = select.EPOLLIN | (select.EPOLLONESHOT if self._threads else 0)
        self._token = (seat.spec.token or "").encode()
        self._service = calls.Service(
            seat.output, seat.status, shared_output=self._threads, late_output=seat.spec.kind == PIPE
        )

    def load(self) -> None:
        """Load the algorithm. What it raises becomes the answer to every call."""
        try:
            if self._spec.kind == PYTHON:
                from .algorithm import load_python  # noqa: PLC0415 - pipe algorithms need none of it

                self._service.run = load_python(self._spec)
            else:
                from .pipes import PipeAlgorithm  # noqa: PLC0415 - Python algorithms need none of it

                self._pipe = PipeAlgorithm(self._spec, self._output)
                self._pipe.wait_ready()
                self._service.run = self._pipe.run
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            failure = answers.describe_exception(error, answers.LOADING_ERROR)
            print(failure.trace.rstrip() or failure.message, file=sys.stderr)  # noqa: T201 - for the replica's log
            self._service.load_failure = failure
        calls.flush()
        failure_text = self._service.load_failure and self._service.load_failure.message
        self._tell({"load_error": failure_text and failure_text[:2000]})

    def _tell(self, message: dict[str, Any]) -> None:
        """To the guardian, which reads at once."""
        self._channel.send(json.dumps(message).encode())

    def run(self) -> None:
        """Serve until the guardian closes its end of the channel, which means: finish and leave."""
        self._channel.setblocking(False)
        self._epoll.register(self._channel, select.EPOLLIN)
        if self._pipe is not None and self._service.load_failure is None:
            self._epoll.register(self._pipe.alive, 0)
        if self._threads:
            import threading  # noqa: PLC0415 - only here

            others = [
                threading.Thread(target=self._serve_in_thread, args=(index,), daemon=True)
                for index in range(1, self._spec.concurrency)
            ]
            for thread in others:
                thread.start()
            self._serve(0)
            for thread in others:
                thread.join()
        else:
            self._serve(0)
        # The guardian takes leave of the gateways: only who stays can wait for what they are just sending.
        if self._pipe is not None:
            self._pipe.close()

    def _serve_in_thread(self, index: int) -> None:
        try:
            self._serve(index)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)

    def _serve(self, index: int) -> None:
        slot = self._status.slot(index)
        poll = self._epoll.poll
        most = 1 if self._threads else -1
        channel = self._channel.fileno()
        connections = self._connections
        wait: float | None = None
        while not self._leaving:
            more = False
            for descriptor, _ in poll(wait, most):
                if descriptor == channel:
                    more = True  # when those that have ended have made room
                elif descriptor in connections:
                    connection = connections[descriptor]
                    if not self._attend(connection, slot):
                        self._close(connection)
                    elif self._threads:
                        self._epoll.modify(descriptor, self._events)
                elif self._pipe is not None and descriptor == self._pipe.alive:
                    self._epoll.unregister(descriptor)
                    wait = _ASK_EVERY_S
            if wait is not None and self._pipe is not None and not self._pipe.is_running():
                self._pipe.follow()
            if more:
                self._take_connections()

    def _take_connections(self) -> None:
        """Those that the guardian has passed."""
        while True:
            try:
                message, ancillary, _, _ = self._channel.recvmsg(64, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            if not message:
                self._leaving = True
                return
            place, remote = HANDOVER.unpack(message)
            descriptors = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(data[:4])
            if not descriptors:
                self._tell({"no_room_for": place})
                continue
            connection = Connection(descriptors[0], place, bool(remote))
            self._connections[descriptors[0]] = connection
            self._epoll.register(descriptors[0], self._events)

    def _attend(self, connection: Connection, slot: Slot) -> bool:
        """Read what is there and answer the requests that are whole. False when the connection is done."""
        requests = connection.requests
        self._status.set_partial(connection.place, partial=True)  # the process may end at any point from here
        try:
            data = connection.receive(min(max(requests.missing, _RECEIVE), _RECEIVE_MOST))
        except BlockingIOError:
            data = None
        except OSError:
            return False
        if data is not None:
            if not data:
                return False
            requests.feed(data)
        try:
            request = requests.next()
            while request is not None:
                if not self._answer(connection, request, slot):
                    return False
                request = requests.next()
        except BadMessage as error:
            failure = Failure(error.message, answers.PARSING_ERROR)
            with contextlib.suppress(OSError):
                connection.send(answers.failure_answer(failure, status=error.status, keep=False))
            return False
        if requests.head is not None and connection.remote and self._is_trusted(requests.head.headers):
            self._status.set_trusted(connection.place, trusted=True)
        self._status.set_partial(connection.place, requests.partial)
        return True

    def _answer(self, connection: Connection, request: Request, slot: Slot) -> bool:
        """Answer one request. False when the connection is to be closed after it."""
        try:
            if request.method != "POST" or request.target != protocol.CALL_PATH:
                return self._answer_other(connection, request)
            if self._status.draining:
                return self._turn_away(connection, request)
            refusal = self._refusal(connection, request.headers)
            if refusal is not None:
                connection.send(refusal)
                return True
            try:
                partial = connection.requests.partial
                given = self._service.answer(request, slot, connection.place, partial)
                if given is None:
                    return self._turn_away(connection, request)
                connection.send(given)
            except (SystemExit, KeyboardInterrupt) as error:
                code = calls.exit_code(error)
                calls.flush()
                os._exit(code)  # the guardian answers this call, and starts a new host
            finally:
                slot.end()
        except OSError:  # the gateway is gone: nobody to answer to
            return False
        return request.keep

    def _refusal(self, connection: Connection, headers: dict[str, str]) -> bytes | None:
        """The answer to a call that may not be begun for what its head says."""
        if connection.remote:
            if not self._is_trusted(headers):
                failure = Failure(f"{protocol.REPLICA_TOKEN} is missing or wrong", answers.SYSTEM_ERROR)
                return answers.failure_answer(failure, status=403)
            self._status.set_trusted(connection.place, trusted=True)
        if (
            len(headers.get(protocol.REQUEST_ID, "")) > protocol.MAX_REQUEST_ID_BYTES
            or len(headers.get(protocol.CALLER, "")) > protocol.MAX_CALLER_BYTES
        ):
            failure = Failure(f"{protocol.REQUEST_ID} or {protocol.CALLER} is too long", answers.SYSTEM_ERROR)
            return answers.failure_answer(failure, status=431)
        return None

    def _turn_away(self, connection: Connection, request: Request) -> bool:
        """The replica is draining: the call may be sent elsewhere."""
        connection.send(answers.unstarted("the replica is draining", request.headers.get(protocol.REQUEST_ID, "")))
        return False

    def _answer_other(self, connection: Connection, request: Request) -> bool:
        if request.target == protocol.HEALTH_PATH:
            state = "draining" if self._status.draining else "ready"
            connection.send(answer(200, "application/json", json.dumps({"state": state}).encode(), keep=request.keep))
            return request.keep
        status = 405 if request.target == protocol.CALL_PATH else 404
        failure = Failure(f"{request.method} {request.target[:200]} is not served here", answers.SYSTEM_ERROR)
        connection.send(answers.failure_answer(failure, status=status, keep=request.keep))
        return request.keep

    def _is_trusted(self, headers: dict[str, str]) -> bool:
        return not self._token or shows_token(headers, self._token)

    def _close(self, connection: Connection) -> None:
        """Both by hand what a close alone would do if the guardian had no copy: leave the epoll, hang up."""
        self._connections.pop(connection.socket.fileno(), None)
        self._status.set_partial(connection.place, partial=False)
        with contextlib.suppress(OSError):
            self._epoll.unregister(connection.socket)
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()


def settle(seat: Seat) -> None:
    """Make the forked process a host: own session, working directory, streams, signals."""
    die_with(seat.guardian)
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(_OOM_SCORE)  # memory short: the algorithm goes, the guardian stays and says so
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(seat.output, 1)
    os.dup2(seat.output, 2)
    os.close(nothing)
    with contextlib.suppress(AttributeError, OSError):
        line_buffer_c_stdout()
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
    sys.stdout = unbuffered(1)
    sys.stderr = unbuffered(2)
    vars(sys).update(__stdout__=sys.stdout, __stderr__=sys.stderr)
    os.chdir(seat.spec.root)


def unbuffered(descriptor: int) -> io.TextIOWrapper:
    """A text stream that writes straight through, so that prints are in order, and there if the process
    dies."""
    name = "<stdout>" if descriptor == 1 else "<stderr>"
    raw = io.FileIO(descriptor, "w", closefd=False)
    raw.name = name
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def main(seat: Seat) -> None:
    """Serve until told to leave."""
    settle(seat)
    host = Host(seat)
    try:
        host.load()
    except (SystemExit, KeyboardInterrupt) as error:
        code = calls.exit_code(error)
        calls.flush()
        os._exit(code)
    host.run()
