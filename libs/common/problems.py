"""Errors that a caller is told about, in one hierarchy, rendered in one place (`libs.common.web`).

A problem carries an HTTP status, a sentence that says what is wrong and what to do, and the numeric code of the
Algorithmia management API where there is one. Administrators' routes render it as `application/problem+json`
(RFC 9457), the `/v1` routes as `{"error": {"id", "code", "message"}}`.
"""

from __future__ import annotations

from collections.abc import Mapping

_MAX_HEADER = 500


class Problem(Exception):
    """A request that cannot be answered as asked. `str()` of it is shown to the caller, so it holds no secret."""

    status = 500
    title = "Internal error"
    code = 5001

    def __init__(self, detail: str, *, code: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        if code is not None:
            self.code = code


class Invalid(Problem):
    status, title, code = 400, "Invalid request", 6001


class Unauthenticated(Problem):
    status, title, code = 401, "Authentication required", 2002


class Forbidden(Problem):
    status, title, code = 403, "Not allowed", 2001


class NotFound(Problem):
    status, title, code = 404, "Not found", 7000


class Conflict(Problem):
    status, title, code = 409, "Conflict", 6001


class PreconditionFailed(Problem):
    """What If-Match named is not what there is now."""

    status, title, code = 412, "Precondition failed", 6001


class TooLarge(Problem):
    status, title, code = 413, "Too large", 6001


class UnsupportedMedia(Problem):
    status, title, code = 415, "Unsupported media type", 6001


class RangeNotSatisfiable(Problem):
    """Say in the header Content-Range how long it is."""

    status, title, code = 416, "Range not satisfiable", 6001


class Unprocessable(Problem):
    status, title, code = 422, "Invalid request", 6001


class TooMany(Problem):
    """Too many requests; say in `retry_after` (seconds) when to come back."""

    status, title, code = 429, "Too many requests", 6001

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    status, title, code = 503, "Unavailable", 5001

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def header_text(text: str) -> str:
    """The text as a header's value: visible ASCII and spaces, cut to a sensible length."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:_MAX_HEADER])
