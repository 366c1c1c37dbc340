"""Results and errors as the bytes of an HTTP answer, exactly as the caller of the algorithm sees them.

Shapes: `{"result", "metadata": {"content_type", "duration", "stdout"?}, "request_id"}` and
`{"error": {"message", "error_type", "stacktrace", "stack_trace"}, "metadata", "request_id"}`. What an
algorithm did is always status 200: published clients drop the body of any other. Both spellings of the
trace are there because clients of different ages read different ones.
"""

from __future__ import annotations

import binascii
import importlib
import json
import os

from . import protocol
from .wire import REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_ABOVE = (os.path.dirname(os.path.abspath(__file__)) + os.sep, importlib.__file__, "<frozen importlib")
"""Files whose frames lie above an algorithm's in each of its traces."""
_SEPARATORS = (",", ":")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=_SEPARATORS).encode
_quote = json.encoder.encode_basestring_ascii
_encode_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=_SEPARATORS).encode

ALGORITHM_ERROR = "AlgorithmError"
LOADING_ERROR = "LoadingError"
OUT_OF_MEMORY_ERROR = "OutOfMemoryError"
PARSING_ERROR = "ParsingError"
SYSTEM_EXIT = "SystemExit"
TIMEOUT_ERROR = "TimeoutError"
TOO_LARGE_ERROR = "TooLargeError"
UNSUPPORTED_ERROR = "UnsupportedError"
SYSTEM_ERROR = "SystemError"


class Failure(Exception):
    """A failure in its final words. `trace` is empty where the algorithm's code has no part in it."""

    def __init__(self, message: str, error_type: str = ALGORITHM_ERROR, trace: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type
        self.trace = trace


def encode_json(value: Any) -> bytes:
    """Strict, compact JSON. Raises Failure for what JSON cannot hold."""
    try:
        try:
            return _encode(value).encode()
        except UnicodeEncodeError:  # a lone surrogate: only an escape can carry it
            return _encode_ascii(value).encode()
    except TypeError as error:
        raise Failure(
            f"the result cannot be written as JSON: {error}. "
            "Return text, bytes, or what JSON holds: objects with text keys, lists, numbers, booleans, None"
        ) from None
    except ValueError as error:
        if "float" in str(error):
            raise Failure(
                "the result holds NaN or Infinity, which JSON cannot carry. Return None or a text in its place"
            ) from None
        raise Failure(f"the result cannot be written as JSON: {error}") from None
    except RecursionError:
        raise Failure("the result is nested too deeply to be written as JSON") from None


def _check_size(payload: bytes) -> bytes:
    if len(payload) > protocol.MAX_RESULT_BYTES:
        raise Failure(
            f"the result has {len(payload)} bytes, over the limit of {protocol.MAX_RESULT_BYTES}. "
            "Write it to the Data API and return its address",
            TOO_LARGE_ERROR,
        )
    return payload


def render_result(result: Any, seconds: str, request_id: str, stdout: str | None) -> bytes:
    """The JSON envelope of a result. Raises Failure."""
    if isinstance(result, (bytes, bytearray, memoryview)):
        kind = protocol.BINARY
        data = result if isinstance(result, bytes) else bytes(result)
        payload = b'"' + binascii.b2a_base64(_check_size(data), newline=False) + b'"'
    else:
        kind = protocol.TEXT if isinstance(result, str) else protocol.JSON
        payload = encode_json(result)
        if len(payload) > protocol.MAX_RESULT_BYTES:
            _check_size(payload)
    output = "" if stdout is None else ',"stdout":' + _quote(stdout)
    metadata = f'{{"content_type":"{kind}","duration":{seconds}{output}}}'
    tail = f',"metadata":{metadata},"request_id":{_quote(request_id)}}}'
    return b"".join((b'{"result":', payload, tail.encode()))


def render_raw(result: Any) -> tuple[str, bytes]:
    """Content type and body of a bare result. Raises Failure."""
    if isinstance(result, (bytes, bytearray, memoryview)):
        return "application/octet-stream", _check_size(bytes(result))
    if isinstance(result, str):
        try:
            return "text/plain; charset=utf-8", _check_size(result.encode())
        except UnicodeEncodeError as error:
            raise Failure(f"the result is a text that UTF-8 cannot carry: {error}") from None
    return "application/json", _check_size(encode_json(result))


def render_failure(
    failure: Failure,
    seconds: str,
    request_id: str,
    *,
    trace: bool = False,
    stdout: str | None = None,
    code: int | None = None,
) -> bytes:
    """The JSON envelope of an error. Members of `error` are texts but for `code`: one client reads a flat
    map."""
    error: dict[str, Any] = {"message": failure.message, "error_type": failure.error_type}
    if trace and failure.trace:
        error["stacktrace"] = error["stack_trace"] = failure.trace
    if code is not None:
        error["code"] = code
    metadata: dict[str, Any] = {"duration": float(seconds)}
    if stdout is not None:
        metadata["stdout"] = stdout
    return _encode_ascii({"error": error, "metadata": metadata, "request_id": request_id}).encode()


def http(status: int, content_type: str, outcome: str, seconds: str, body: bytes, *, keep: bool) -> bytes:
    """The head of an answer with this body."""
    closing = "" if keep else "connection: close\r\n"
    return (
        f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\n{protocol.OUTCOME}: {outcome}\r\n"
        f"{protocol.DURATION}: {seconds}\r\n{closing}\r\n"
    ).encode("latin-1")


def failure_answer(
    failure: Failure,
    request_id: str = "",
    seconds: str = "0.0",
    *,
    status: int = 200,
    code: int | None = None,
    stdout: str | None = None,
    outcome: str = protocol.OUTCOME_ERROR,
    keep: bool = True,
) -> bytes:
    """A whole HTTP answer of a failure that no algorithm's code raised."""
    body = render_failure(failure, seconds, request_id, code=code, stdout=stdout)
    return http(status, "application/json", outcome, seconds, body, keep=keep) + body


def unstarted(reason: str, request_id: str = "") -> bytes:
    """The answer to a call that was never begun, and may safely be sent elsewhere."""
    failure = Failure(reason, SYSTEM_ERROR)
    return failure_answer(failure, request_id, status=503, outcome=protocol.OUTCOME_UNSTARTED, keep=False)


def describe_exception(
    error: BaseException, default_type: str = ALGORITHM_ERROR, *, with_trace: bool = True
) -> Failure:
    """An exception of the algorithm's, as its author worded it. Its trace takes a while to make."""
    if isinstance(error, Failure):
        return error
    error_type = getattr(error, "error_type", None)
    if not isinstance(error_type, str) or not error_type:
        error_type = default_type
    trace = trace_of(error) if with_trace else ""
    if isinstance(error, MemoryError):
        words = _words(error)
        message = "the algorithm ran out of memory" + (f": {words}" if words != "MemoryError" else "")
        return Failure(message, OUT_OF_MEMORY_ERROR, trace)
    return Failure(_words(error), error_type, trace)


def _words(error: BaseException) -> str:
    """Its text. The published AlgorithmException puts quotes around its message when made a text, so its
    member is taken instead."""
    try:
        if any(base.__name__ == "AlgorithmException" for base in type(error).__mro__):
            message = getattr(error, "message", None)
            if isinstance(message, str):
                return message
        return str(error) or type(error).__name__
    except Exception:
        return f"{type(error).__name__} (its text could not be made)"


def trace_of(error: BaseException) -> str:
    """The stack trace from the algorithm's first frame on, without the runner's own above it."""
    import traceback  # noqa: PLC0415 - only errors need it

    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_ABOVE):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except Exception as failed:  # the algorithm's own __str__ or __repr__ may raise
        return f"{type(error).__name__} (its stack trace could not be made: {type(failed).__name__})"
