"""The process that stays: it owns the replica's sockets, watches the host, and answers for it when it dies.

It never imports the algorithm and has no threads, so that it can fork a host at any time and is never held
up by one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time

from . import endings, processes, protocol, state
from .connections import Connections
from .control import Control
from .door import Door
from .host import Seat
from .linux import adopt_orphans
from .listeners import listen_tcp, listen_unix
from .loop import READ, Loop
from .output import OutputLog, open_output, size_of
from .spec import PIPE
from .status import ANSWERING, NO_HOLD, RUNNING, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from typing import Any

    from .answers import Failure
    from .spec import Spec
    from .status import Call

MAX_DEATHS = 10
"""So many deaths of the host without a call answered in between are borne; one more and the replica failed."""
_LOOK_IDLE_S = 0.5
_LOOK_BUSY_S = 0.1
_LOOK_PRINTING_S = 0.02
_LEAVE_S = 4.0
_END_S = 10.0
_PIPE_GRACE_S = 5.0


class Forked(Exception):
    """Raised in the forked process to leave the guardian's code behind."""

    def __init__(self, seat: Seat) -> None:
        super().__init__()
        self.seat = seat


class Guardian:
    """`run` serves until told to stop and gives the exit code: 0, or 1 if the replica failed."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._state = state.StateFile(spec.state)
        self._status = Status(spec.concurrency)
        self._loop = Loop()
        self._connections = Connections(self._loop, self._status, spec.token)
        self._host = 0
        self._channel: socket.socket | None = None
        self._load_deadline: float | None = None
        self._leave_deadline: float | None = None
        self._deaths = 0
        self._loads = 0
        self._calls_before = 0
        self._printing = False
        self._exit: int | None = None

    def run(self) -> int | Seat:
        """In the forked process, gives the seat that it is to fill."""
        self._state.write(state.STARTING)
        try:
            self._open()
        except OSError as error:
            print(error, file=sys.stderr)  # noqa: T201 - where the worker looks when there is no state file
            self._state.write(state.FAILED, str(error))
            return 1
        try:
            self._start_host()
            while self._exit is None:
                self._loop.turn(self._next_look())
                if self._exit is None:
                    self._look()
            while self._connections.is_closing:
                self._loop.turn(_LOOK_BUSY_S)
                self._connections.sweep(set())
        except Forked as forked:
            self._abandon()
            return forked.seat
        except Exception as error:
            self._state.write(state.FAILED, f"the runner failed: {error}")
            with contextlib.suppress(TimeoutError):
                processes.end_descendants(_END_S)
            raise
        return self._exit

    def _open(self) -> None:
        adopt_orphans()
        self._output = open_output()
        self._log = OutputLog(self._output, self._spec.log)
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._signals = os.fdopen(read, "rb", buffering=0)
        self._signals_end = os.fdopen(write, "wb", buffering=0)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # its number is read from the pipe
        self._loop.watch(self._signals, READ, self._signalled)
        self._connections.listen(listen_unix(self._spec.socket), remote=False)
        if self._spec.tcp is not None:
            self._connections.listen(listen_tcp(*self._spec.tcp), remote=True)
        if self._spec.entrance:
            self._connections.listen(listen_unix(self._spec.entrance), remote=True)
        actions = {protocol.DRAIN_PATH: self._drain, protocol.STOP_PATH: self._stop}
        Control(self._loop, listen_unix(self._spec.control), self._health, actions)
        if self._spec.health is not None:
            Control(self._loop, listen_tcp(*self._spec.health), self._health, {})
        self._door = Door(self._loop, self._spec, self._status)
        os.environ["ALGORITHMIA_API"] = self._door.address
        for name in ("NO_PROXY", "no_proxy"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
        gc.collect()
        gc.freeze()  # the hosts share these pages; collecting must not touch them

    # The host's life

    def _start_host(self) -> None:
        self._calls_before += self._status.calls_begun()
        self._status.clear()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._load_output = size_of(self._output)
        guardian = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            raise Forked(Seat(self._spec, self._status, self._output, theirs, guardian))
        theirs.close()
        ours.setblocking(False)
        self._host = pid
        self._channel = ours
        # Of a pipe algorithm the host itself says that it is late, with what it printed.
        grace = _PIPE_GRACE_S if self._spec.kind == PIPE else 0.0
        self._load_deadline = time.monotonic() + self._spec.load_timeout + grace
        self._loop.watch(ours, READ, lambda _: self._hear(ours))
        self._connections.attach(ours)

    def _abandon(self) -> None:
        """In the forked process: close what is the guardian's."""
        signal.set_wakeup_fd(-1)
        self._loop.abandon()
        self._signals_end.close()
        self._log.close()
        self._connections.abandon()

    def _hear(self, channel: socket.socket) -> None:
        """The host says that it has loaded, or is gone, which its wait status will tell."""
        try:
            message = channel.recv(64 * 1024)
        except OSError:
            message = b""
        if not message:
            self._loop.forget(channel)
            return
        members = json.loads(message)
        if "no_room_for" in members:
            self._connections.refuse(members["no_room_for"], "the algorithm has too many files open")
            return
        self._load_deadline = None
        self._loads += 1
        error = members["load_error"]
        if error and self._spec.must_load:
            self._fail(f"loading failed: {error}")
            return
        reason = f"calls are answered by an error, since loading failed: {error}" if error else None
        self._state.write(state.READY, reason)

    def _signalled(self, _events: int) -> None:
        numbers = self._signals.read(1024) or b""
        if signal.SIGINT in numbers:
            self._stop()
        elif signal.SIGTERM in numbers:
            self._drain()
        ended = processes.reap()
        if self._host in ended and self._exit is None:
            status = ended[self._host]
            self._host = 0
            self._bury(status)

    def _end_host(self) -> int:
        """Kill the host and all below it. Gives the host's wait status."""
        host, self._host = self._host, 0
        if host:
            with contextlib.suppress(ProcessLookupError):
                os.kill(host, signal.SIGKILL)
        return processes.end_descendants(_END_S).get(host, int(signal.SIGKILL))

    def _bury(self, status: int, overdue: AbstractSet[int] = frozenset()) -> None:
        """The host is dead: end what it left behind, answer its calls, start the next one."""
        self._end_host()
        if self._channel is not None:
            self._loop.drop(self._channel)
            self._channel = None
        self._connections.detach()
        words = processes.describe(status)
        if self._load_deadline is not None:
            self._fail(f"the algorithm's process {words} while it was loading")
            return
        calls = self._status.calls()
        reason = "the algorithm's process ended before this call began"
        self._settle(calls, lambda call: endings.failure_of_death(call, words, overdue), reason)
        self._log.collect([])
        if self._state.value == state.DRAINING:
            self._finish()
            return
        self._log.note("a call ran out of time" if overdue else f"the algorithm's process {words}")
        if not overdue:
            answered = self._status.calls_begun() > len(calls)
            self._deaths = 1 if answered else self._deaths + 1
        if self._deaths > MAX_DEATHS:
            self._fail(f"the algorithm's process ended {self._deaths} times in a row; the last time it {words}")
            return
        self._start_host()

    def _settle(self, calls: list[Call], failure: Callable[[Call], Failure], unbegun: str) -> None:
        """The host is dead: answer for it. `unbegun` is told to requests of which it had read a part."""
        for call in calls:
            if call.phase == ANSWERING:  # perhaps in part: nothing true can follow
                self._connections.drop(call.place)
            else:
                self._connections.send(call.place, endings.answer_for(call, failure(call), self._output))
        self._connections.settle_partial({call.place for call in calls}, unbegun)

    # What is looked at a few times a second

    def _next_look(self) -> float:
        """Seconds until there may be something to do that nothing announces."""
        calls = self._status.calls()
        times = [call.deadline_ns / 1e9 for call in calls if call.phase == RUNNING]
        for when in (self._load_deadline, self._leave_deadline, self._door.next_deadline()):
            if when is not None:
                times.append(when)
        pause = _LOOK_PRINTING_S if self._printing else _LOOK_BUSY_S if calls else _LOOK_IDLE_S
        return min(pause, min(times, default=float("inf")) - time.monotonic())

    def _look(self) -> None:
        now = time.monotonic()
        calls = self._status.calls()
        self._connections.pass_on()
        self._connections.sweep({call.place for call in calls})
        self._door.sweep(now)
        holds = [call.hold for call in calls if call.hold != NO_HOLD]
        if self._load_deadline is not None:
            holds.append(self._load_output)
        self._printing = self._log.collect(holds)
        if self._load_deadline is not None and now >= self._load_deadline:
            self._fail(f"the algorithm did not load within {self._spec.load_timeout:g} seconds")
        elif any(call.phase == RUNNING and call.deadline_ns <= now * 1e9 for call in calls):
            self._expire(now)
        elif calls:
            self._leave_deadline = None
        elif self._leave_deadline is not None and now >= self._leave_deadline:
            self._stop()
        elif self._state.value == state.DRAINING and self._leave_deadline is None:
            self._leave_deadline = now + _LEAVE_S

    def _expire(self, now: float) -> None:
        """A call has run past its time. None can be stopped from outside but by ending its process."""
        calls = self._status.calls()
        late = {call.place for call in calls if call.phase == RUNNING and call.deadline_ns <= now * 1e9}
        if late:  # it may just have ended
            self._bury(self._end_host(), late)

    # What the worker asks for

    def _health(self) -> dict[str, Any]:
        in_flight = len(self._status.calls())
        value = self._state.value
        if value == state.READY and (in_flight or self._load_deadline is not None):
            value = state.BUSY
        return {
            "state": value,
            "reason": self._state.reason,
            "pid": os.getpid(),
            "host_pid": self._host,
            "calls": self._calls_before + self._status.calls_begun(),
            "in_flight": in_flight,
            "loads": self._loads,
        }

    def _drain(self) -> None:
        """Take no more calls; end when those under way have ended."""
        if self._state.value == state.DRAINING or self._exit is not None:
            return
        if self._load_deadline is not None or self._channel is None:
            self._stop()
            return
        self._state.write(state.DRAINING)
        self._status.drain()
        self._connections.stop_listening()
        self._connections.pass_on()
        self._connections.refuse_waiting("the replica is draining")
        self._remove(self._spec.socket)
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def _stop(self) -> None:
        """End now. Calls under way are told so."""
        if self._exit is not None:
            return
        self._end_host()
        self._settle(self._status.calls(), lambda _: endings.failure_of_stop(), "the replica was stopped")
        self._finish()

    def _finish(self) -> None:
        self._close(state.STOPPED, None, "the replica was stopped")
        self._exit = 0

    def _fail(self, reason: str) -> None:
        self._close(state.FAILED, reason, reason)
        self._exit = 1

    def _close(self, value: str, reason: str | None, told: str) -> None:
        self._end_host()
        self._log.collect([])
        if reason is not None:
            self._log.note(reason)
        self._connections.close(told)
        self._remove(self._spec.socket)
        self._remove(self._spec.control)
        self._state.write(value, reason)

    @staticmethod
    def _remove(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
