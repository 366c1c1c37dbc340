"""Algorithms in other languages: a process that reads requests on its input and answers on a named pipe.

It prints a line that contains PIPE_INIT_COMPLETE when it is ready; takes one line of JSON per request,
`{"content_type": "text|json|binary", "data"}`; answers each with JSON and a newline on the pipe:
`{"result", "metadata": {"content_type"}}` or `{"error": {"message", "stacktrace", "error_type"}}`. It ends
when its input does. The pipe is where such programs expect it, /tmp/algoout, if the replica has a /tmp of
its own; CONSTELLATION_PIPE names it in any case.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import resource
import select
import signal
import stat
import subprocess
import time

from .answers import ALGORITHM_ERROR, LOADING_ERROR, Failure
from .inputs import decode_json
from .linux import dying_with_me
from .output import read_range, size_of
from .protocol import BINARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .spec import Spec

READY_MARK = b"PIPE_INIT_COMPLETE"
PIPE_VARIABLE = "CONSTELLATION_PIPE"
SHARED_PIPE = "/tmp/algoout"  # noqa: S108 - the protocol's path, used only in a /tmp of the replica's own
_LOOK_EVERY_S = 0.01
_END_S = 3.0
_ASK_EVERY_S = 0.02
_TAIL_BYTES = 4096
_PIECE = 1 << 20


class PipeAlgorithm:
    """The process and the pipe. If it ends by itself, so does this process, in the same way: the guardian
    then knows what to say and starts both again."""

    def __init__(self, spec: Spec, output: int) -> None:
        self._spec = spec
        self._output = output
        self._path = SHARED_PIPE if spec.private_tmp else os.path.join(os.path.dirname(spec.state), "algoout")
        self._answers = _open_pipe(self._path)
        self.alive, alive = os.pipe()
        """Readable end of a pipe that hangs up when the process goes: a little before it is gone. It may also have
        closed what it did not open. So `is_running` has the last word, and must be asked from then on."""
        self._from = size_of(output)
        environment = {**os.environ, PIPE_VARIABLE: self._path}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running the algorithm's command is the purpose
                spec.command,
                cwd=spec.root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(alive,),
                preexec_fn=dying_with_me(),  # noqa: PLW1509 - this process has no threads
            )
        except OSError as error:
            raise Failure(f"{spec.command[0]} could not be started: {error}", LOADING_ERROR) from None
        finally:
            os.close(alive)

    def wait_ready(self) -> None:
        """Until it says so. Raises Failure with the end of its output if it ends or stays silent."""
        deadline = time.monotonic() + self._spec.load_timeout
        while not self._is_ready():
            if self._process.poll() is not None:
                if self._is_ready():  # said so, then ended: for the next call to find out
                    return
                code = self._process.returncode
                raise Failure(
                    f"{self._command} ended with code {code} before it was ready{self._tail()}", LOADING_ERROR
                )
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise Failure(
                    f"{self._command} was not ready within {self._spec.load_timeout:g} seconds: "
                    f"it must print {READY_MARK.decode()}{self._tail()}",
                    LOADING_ERROR,
                )
            time.sleep(_LOOK_EVERY_S)

    def run(self, value: Any, kind: str) -> Any:
        """One call. Raises Failure for an error answer; does not come back if the process ends."""
        data = base64.b64encode(value).decode() if kind == BINARY else value
        line = json.dumps({"content_type": kind, "data": data}, separators=(",", ":")) + "\n"
        self._discard_stale()
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError("the process was started without an input")
        try:
            stdin.write(line.encode())
            stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.follow()
        return interpret(self._read_answer())

    def is_running(self) -> bool:
        return self._process.poll() is None

    def follow(self) -> NoReturn:
        """The process is gone, or has closed its input: end as it ended."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code < 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with contextlib.suppress(OSError):  # not allowed for SIGKILL, and not needed
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)

    def close(self) -> int:
        """End it by the end of its input; kill it if that takes more than three seconds. Gives its code."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @property
    def _command(self) -> str:
        return os.path.basename(self._spec.command[0])

    def _is_ready(self) -> bool:
        return READY_MARK in read_range(self._output, self._from, size_of(self._output))

    def _tail(self) -> str:
        end = size_of(self._output)
        text = read_range(self._output, max(self._from, end - _TAIL_BYTES), end).decode("utf-8", "replace").strip()
        return f". It printed: {text}" if text else ". It printed nothing"

    def _discard_stale(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._answers, _PIECE):
                pass

    def _read_answer(self) -> Any:
        """The pipe is kept open by both ends here, so an answer ends with a newline after whole JSON, not
        with the end of the file."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        poll.register(self.alive, 0)
        pieces: list[bytes] = []
        wait_ms = None
        while True:
            ready = dict(poll.poll(wait_ms))
            if self._answers not in ready:
                if not self.is_running():
                    self.follow()
                if self.alive in ready:
                    poll.unregister(self.alive)
                    wait_ms = _ASK_EVERY_S * 1000
                continue
            piece = os.read(self._answers, _PIECE)
            pieces.append(piece)
            if piece.endswith(b"\n"):
                text = b"".join(pieces)
                try:
                    return decode_json(text)
                except ValueError as error:
                    if not _may_go_on(text):
                        raise Failure(f"the algorithm's answer is not JSON: {error}") from None


def _may_go_on(text: bytes) -> bool:
    """Whether more lines may complete this JSON: it was cut at a newline within."""
    try:
        json.loads(text)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        return bool(position >= len(text.rstrip()))
    return False


def _open_pipe(path: str) -> int:
    """Make the named pipe anew. Opened for both directions, so that it neither blocks nor ever reports the
    end of the file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise Failure(f"{path} is in the way of the pipe", LOADING_ERROR)
        os.unlink(path)
    os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415 - only here

        fcntl.fcntl(descriptor, 1031, _PIECE)  # F_SETPIPE_SZ: large answers in fewer turns
    return descriptor


def interpret(answer: Any) -> Any:
    """The result in an answer's JSON, as Python holds it. Raises Failure for an error."""
    if not isinstance(answer, dict):
        raise Failure("the algorithm's answer is not a JSON object")
    error = answer.get("error")
    if error is not None:
        if not isinstance(error, dict):
            error = {"message": error}
        error_type = error.get("error_type")
        if not isinstance(error_type, str) or not error_type:
            error_type = ALGORITHM_ERROR
        raise Failure(str(error.get("message", "")), error_type, str(error.get("stacktrace") or ""))
    if "result" not in answer:
        raise Failure('the algorithm\'s answer has neither "result" nor "error"')
    result = answer["result"]
    metadata = answer.get("metadata")
    if isinstance(metadata, dict) and metadata.get("content_type") == BINARY:
        try:
            return base64.b64decode(result, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Failure("the algorithm's binary answer is not base64") from None
    return result
