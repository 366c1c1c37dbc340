"""What the gateway itself answers to calls: errors in the envelope that clients of the Algorithmia API read.

    {"error": {"message", "error_type", "code", "id"}, "metadata": {"duration"}, "request_id"}

All members of `error` are texts but for `code`: one client reads a flat map. Clients that get another status than 200
may drop the body, so the message is in `X-Error-Message` too.
"""

from __future__ import annotations

from http import HTTPStatus

import orjson

from libs.common.problems import Problem, header_text

JSON_TYPE = b"application/json"
TEXT_TYPE = b"text/plain; charset=utf-8"

_ERROR_TYPES = {
    400: "InputError",
    401: "AuthorizationError",
    403: "AuthorizationError",
    404: "EntityNotFoundError",
    408: "TimeoutError",
    413: "TooLargeError",
    415: "UnsupportedError",
    429: "TooManyRequestsError",
    504: "TimeoutError",
}
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}


class StartFailed(Problem):
    """No replica of the algorithm could be started. Status 200, as for all that an algorithm brings about."""

    status, title, code = 200, "Algorithm did not start", 1010
    error_type = "LoadingError"


class RequestTimeout(Problem):
    status, title, code = 408, "Request timeout", 6001


class GatewayTimeout(Problem):
    status, title, code = 504, "Gateway timeout", 5001


class ReplicaLost(Problem):
    """The connection to a replica ended before its answer did. The call may have run, so it is not repeated."""

    status, title, code = 500, "Replica lost", 5001


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()


def error_type(problem: Problem) -> str:
    return str(getattr(problem, "error_type", None) or _ERROR_TYPES.get(problem.status, "SystemError"))


def failure_body(problem: Problem, request_id: str, seconds: float) -> bytes:
    return orjson.dumps(
        {
            "error": {
                "message": problem.detail,
                "error_type": error_type(problem),
                "code": problem.code,
                "id": request_id,
            },
            "metadata": {"duration": round(seconds, 6)},
            "request_id": request_id,
        }
    )


def read_error(body: bytes) -> tuple[str | None, str | None]:
    """Type and message of an error envelope, as replicas send it."""
    try:
        error = orjson.loads(body)["error"]
        return str(error["error_type"]), str(error["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "SystemError", None


def failure_fields(problem: Problem) -> bytes:
    """Header lines of an error, without those that every answer has."""
    lines = [f"x-error-message: {header_text(problem.detail)}"]
    lines += [f"{name.lower()}: {header_text(value)}" for name, value in problem.headers.items()]
    if problem.status == 401:
        lines.append('www-authenticate: Bearer realm="constellation"')
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def fields(content_type: bytes, length: int, request_id: str) -> bytes:
    """Header lines that every answer to a call has."""
    return b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n" % (
        content_type,
        length,
        request_id.encode(),
    )


def default_body(result: bytes, kind: str, why: str, request_id: str, seconds: float) -> bytes:
    """Answer of an application whose current version does not answer, in the envelope of results.

    Args:
        result: the default answer, as JSON.
        kind: its content type, as in the envelope of results: `json` or `text`.
    """
    metadata = {"content_type": kind, "duration": round(seconds, 6), "default": True, "default_reason": why}
    rest = orjson.dumps({"metadata": metadata, "request_id": request_id})
    return b'{"result":%b,%b' % (result, rest[1:])


def default_fields(why: str) -> bytes:
    """Header lines of a default answer: where the bare result is asked for, they alone tell."""
    return f"x-default-answer: {header_text(why)}\r\n".encode("latin-1")


def void_body(request_id: str) -> bytes:
    """Answer to a call that runs on. Clients need both members."""
    return orjson.dumps({"async": "void", "request_id": request_id})
