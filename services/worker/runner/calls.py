"""One call: the request's body in, apply(), the answer's bytes out. On the path of each call, so plain."""

from __future__ import annotations

import contextlib
import os
import sys
import time

from . import answers, protocol
from .answers import Failure
from .inputs import BadInput, decode
from .output import read_call, size_of
from .status import NO_HOLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .algorithm import Run
    from .status import Slot, Status
    from .wire import Request

_LATE_OUTPUT_S = 0.01


class Flags:
    """What the gateway asks for besides the result."""

    __slots__ = ("raw", "stdout", "trace")

    def __init__(self, text: str) -> None:
        words = {word.strip() for word in text.split(",")}
        self.stdout = protocol.FLAG_STDOUT in words
        self.trace = protocol.FLAG_TRACE in words
        self.raw = protocol.FLAG_RAW in words


class Service:
    """The loaded algorithm, or why it could not be loaded, and how its calls are answered."""

    def __init__(self, output: int, status: Status, *, shared_output: bool, late_output: bool) -> None:
        self._output = output
        self._status = status
        self._shared_output = shared_output
        self._late_output = late_output
        self._flags: dict[str, Flags] = {}
        self._pid = os.getpid()
        self.run: Run = self._not_loaded
        self.load_failure: Failure | None = None

    def answer(self, request: Request, slot: Slot, place: int, partial: bool) -> bytes | None:
        """The whole answer to `POST /call`, or None if the replica began to drain before the call began.
        SystemExit and KeyboardInterrupt of the algorithm come through. With an answer, the slot is left as
        `answering`.
        `partial`: the beginning of another request came with this one."""
        headers = request.headers
        request_id = headers.get(protocol.REQUEST_ID, "")
        words = headers.get(protocol.FLAGS, "")
        flags = self._flags.get(words) or self._read_flags(words)
        started_ns = time.monotonic_ns()
        try:
            kind = protocol.KINDS[headers.get("content-type", "")]
            value = decode(kind, request.body)
            timeout_ns = read_timeout(headers.get(protocol.TIMEOUT))
        except BadInput as error:
            return self._refuse(400, error.message, error.code, request_id)
        except KeyError:
            kinds = ", ".join(protocol.KINDS)
            message = f"content-type {headers.get('content-type')!r} is not one of {kinds}"
            return self._refuse(415, message, protocol.CODE_INVALID_REQUEST, request_id)
        except ValueError:
            message = f"{protocol.TIMEOUT} must be seconds above 0"
            return self._refuse(400, message, protocol.CODE_INVALID, request_id)
        hold = size_of(self._output) if flags.stdout else NO_HOLD
        caller = headers.get(protocol.CALLER, "")
        until_ns = started_ns + timeout_ns
        names = request_id.encode("latin-1"), caller.encode("latin-1")
        slot.begin(place, started_ns, until_ns, hold, *names, partial)
        if self._status.draining:  # only from here on does the guardian see that there is a call to wait for
            slot.end()
            return None
        try:
            result = self.run(value, kind)
            stdout = self._printed(hold) if flags.stdout else None
            seconds = f"{(time.monotonic_ns() - started_ns) / 1e9:.6f}"
            if flags.raw:
                content_type, body = answers.render_raw(result)
            else:
                content_type, body = "application/json", answers.render_result(result, seconds, request_id, stdout)
            outcome = protocol.OUTCOME_OK
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            failure = answers.describe_exception(error, with_trace=flags.trace)
            stdout = self._printed(hold) if flags.stdout else None
            seconds = f"{(time.monotonic_ns() - started_ns) / 1e9:.6f}"
            content_type, outcome = "application/json", protocol.OUTCOME_ERROR
            body = answers.render_failure(failure, seconds, request_id, trace=flags.trace, stdout=stdout)
        if os.getpid() != self._pid:
            os._exit(0)  # apply() forked, and this is the child: the parent answers
        slot.answering()
        head = answers.http(200, content_type, outcome, seconds, body, keep=request.keep)
        return head + body

    def _not_loaded(self, _value: Any, _kind: str) -> Any:
        failure = self.load_failure
        if failure is None:
            raise Failure("the algorithm is not loaded", answers.LOADING_ERROR)
        raise Failure(failure.message, failure.error_type, failure.trace)  # raising one object again would grow it

    def _read_flags(self, text: str) -> Flags:
        if len(self._flags) > 64:
            self._flags.clear()
        flags = self._flags[text] = Flags(text)
        return flags

    def _refuse(self, status: int, message: str, code: int, request_id: str) -> bytes:
        failure = Failure(message, answers.PARSING_ERROR)
        return answers.failure_answer(failure, request_id, status=status, code=code)

    def _printed(self, start: int) -> str:
        if self._shared_output:
            return "(several calls run at a time here: what they print is in the replica's log)"
        flush()
        end = size_of(self._output)
        if end == start and self._late_output:
            time.sleep(_LATE_OUTPUT_S)  # runners of other languages may print just after they answer
            end = size_of(self._output)
        return read_call(self._output, start, end)


def read_timeout(text: str | None) -> int:
    """Nanoseconds. Raises ValueError."""
    if text is None:
        return int(protocol.MAX_TIMEOUT_S * 1e9)
    seconds = float(text)
    if not seconds > 0:
        raise ValueError(text)
    return int(min(seconds, protocol.MAX_TIMEOUT_S) * 1e9)


def flush() -> None:
    """Python's own streams are unbuffered here, but an algorithm may have put others in their place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def exit_code(error: BaseException) -> int:
    """The code that Python would end with for a SystemExit or KeyboardInterrupt, its text printed."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    code: Any = error.code if isinstance(error, SystemExit) else 1
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(Exception):
        os.write(2, f"{code}\n".encode("utf-8", "replace"))
    return 1
