"""What the gateway itself answers."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import problems
from services.gateway import answers
from services.gateway.answers import GatewayTimeout, ReplicaLost, StartFailed


@pytest.mark.parametrize(
    ("problem", "status", "kind"),
    [
        (problems.Invalid("x"), 400, "InputError"),
        (problems.Unauthenticated("x"), 401, "AuthorizationError"),
        (problems.Forbidden("x"), 403, "AuthorizationError"),
        (problems.NotFound("x"), 404, "EntityNotFoundError"),
        (problems.TooLarge("x"), 413, "TooLargeError"),
        (problems.UnsupportedMedia("x"), 415, "UnsupportedError"),
        (problems.TooMany("x"), 429, "TooManyRequestsError"),
        (ReplicaLost("x"), 500, "SystemError"),
        (problems.Unavailable("x"), 503, "SystemError"),
        (GatewayTimeout("x"), 504, "TimeoutError"),
        (StartFailed("x"), 200, "LoadingError"),
    ],
)
def test_errors_have_the_envelope_that_clients_read(problem: problems.Problem, status: int, kind: str) -> None:
    assert problem.status == status
    members = orjson.loads(answers.failure_body(problem, "req-1", 0.25))
    assert members == {
        "error": {"message": "x", "error_type": kind, "code": problem.code, "id": "req-1"},
        "metadata": {"duration": 0.25},
        "request_id": "req-1",
    }


@given(st.text())
def test_no_text_breaks_out_of_a_header(text: str) -> None:
    lines = answers.failure_fields(problems.Invalid(text))
    assert lines.count(b"\r\n") == 1
    assert lines.endswith(b"\r\n")
    assert lines.count(b"\n") == 1


def test_errors_say_when_to_come_back() -> None:
    assert b"retry-after: 7\r\n" in answers.failure_fields(problems.TooMany("x", retry_after=7))


def test_a_void_answer_has_both_members() -> None:
    members = orjson.loads(answers.void_body("req-1"))
    assert members["async"]
    assert members["request_id"] == "req-1"


@pytest.mark.parametrize(("status", "line"), [(200, b"HTTP/1.1 200 OK\r\n"), (299, b"HTTP/1.1 299 \r\n")])
def test_every_status_has_its_line(status: int, line: bytes) -> None:
    assert answers.status_line(status) == line
