"""Results and errors as bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.runner import answers
from services.worker.runner.answers import Failure, describe_exception, encode_json, render_raw, render_result
from services.worker.runner.calls import exit_code, read_timeout
from services.worker.runner.inputs import BadInput, decode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_a_result_comes_back_as_it_was(value: Any) -> None:
    members = json.loads(render_result(value, "0.5", 'req-"1"', None))
    kind = "text" if isinstance(value, str) else "json"
    metadata = {"content_type": kind, "duration": 0.5}
    assert members == {"result": value, "metadata": metadata, "request_id": 'req-"1"'}


@given(json_values)
def test_what_goes_out_can_come_in(value: Any) -> None:
    assert decode("json", encode_json(value)) == value


@pytest.mark.parametrize("value", [b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")])
def test_bytes_are_binary(value: object) -> None:
    members = json.loads(render_result(value, "0.5", "", "printed"))
    assert members["result"] == "AP8="
    assert members["metadata"] == {"content_type": "binary", "duration": 0.5, "stdout": "printed"}
    assert render_raw(value) == ("application/octet-stream", b"\x00\xff")


def test_json_is_written_without_spaces_and_without_needless_escapes() -> None:
    assert encode_json({"\u00fc": [1, 2]}) == '{"\u00fc":[1,2]}'.encode()
    assert encode_json("\ud800") == b'"\\ud800"'


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": -math.inf}])
def test_numbers_that_json_lacks_are_never_written(value: object) -> None:
    with pytest.raises(Failure, match="NaN or Infinity"):
        encode_json(value)


def test_a_lone_surrogate_cannot_be_raw_text() -> None:
    with pytest.raises(Failure, match="UTF-8"):
        render_raw("\ud800")


def test_a_failure_is_flat_and_shows_its_trace_only_when_asked() -> None:
    failure = Failure("m", "InputError", "the trace")
    shown = json.loads(answers.render_failure(failure, "0.5", "r", trace=True, stdout="s"))
    assert shown == {
        "error": {"message": "m", "error_type": "InputError", "stacktrace": "the trace", "stack_trace": "the trace"},
        "metadata": {"duration": 0.5, "stdout": "s"},
        "request_id": "r",
    }
    assert set(json.loads(answers.render_failure(failure, "0.5", "r"))["error"]) == {"message", "error_type"}


def test_an_unstarted_answer_closes_and_says_so() -> None:
    head, _, body = answers.unstarted("gone").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nx-outcome: unstarted\r\n" in head
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error"]["message"] == "gone"


class AlgorithmException(Exception):
    """Shaped as the published one is: its text has quotes."""

    def __init__(self, message: object, stack_trace: str | None = None, error_type: object = None) -> None:
        self.message = message
        self.stack_trace = stack_trace
        self.error_type = error_type

    def __str__(self) -> str:
        return repr(self.message)


class Nested(AlgorithmException):
    pass


@pytest.mark.parametrize(
    ("error", "message", "error_type"),
    [
        (ValueError("boom"), "boom", "AlgorithmError"),
        (ValueError(), "ValueError", "AlgorithmError"),
        (AlgorithmException("bad", error_type="InputError"), "bad", "InputError"),
        (AlgorithmException("bad"), "bad", "AlgorithmError"),
        (AlgorithmException({"a": 1}, error_type=5), "{'a': 1}", "AlgorithmError"),
        (Nested("bad", error_type=""), "bad", "AlgorithmError"),
        (MemoryError(), "the algorithm ran out of memory", "OutOfMemoryError"),
        (MemoryError("numpy says"), "the algorithm ran out of memory: numpy says", "OutOfMemoryError"),
        (KeyError("k"), "'k'", "AlgorithmError"),
    ],
)
def test_exceptions_keep_their_authors_words(error: Exception, message: str, error_type: str) -> None:
    failure = describe_exception(error)
    assert (failure.message, failure.error_type) == (message, error_type)


def test_an_exception_while_loading_has_its_own_default_type() -> None:
    assert describe_exception(ValueError("x"), answers.LOADING_ERROR).error_type == "LoadingError"
    typed = AlgorithmException("x", error_type="InitializationError")
    assert describe_exception(typed, answers.LOADING_ERROR).error_type == "InitializationError"


@pytest.mark.parametrize(
    ("kind", "body", "words", "code"),
    [
        ("json", b'{"a": }', "line 1 column 7", 2013),
        ("json", b"Infinity", "Infinity is not JSON", 2013),
        ("json", b"\xef\xbb\xbf1", "line 1 column 1", 2013),
        ("json", b"[" * 200_000, "nested too deeply", 2013),
        ("json", b'"\xff"', "byte 0xff at position 1", 2013),
        ("text", b"abc\xe2\x28", "position 3", 2015),
    ],
)
def test_bad_input_is_named_with_its_place(kind: str, body: bytes, words: str, code: int) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        decode(kind, body)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit(256 + 4), 4),
        (SystemExit(-1), 255),
        (SystemExit(True), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_are_those_of_python(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_timeouts_are_positive_and_bounded() -> None:
    assert read_timeout("0.5") == 500_000_000
    assert read_timeout(None) == read_timeout("inf") == read_timeout("1e9") == 3000 * 10**9
    for text in ("0", "-1", "nan", "soon", ""):
        with pytest.raises(ValueError, match=text or "could not convert"):
            read_timeout(text)
