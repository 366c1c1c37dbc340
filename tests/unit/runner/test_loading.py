"""How an algorithm's functions are found and called: capture, arity, specification, shared status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.worker.runner import endings, processes, status
from services.worker.runner.adk import Capture, load_served
from services.worker.runner.algorithm import bind
from services.worker.runner.answers import Failure
from services.worker.runner.pipes import interpret
from services.worker.runner.protocol import MAX_CALLER_BYTES, MAX_REQUEST_ID_BYTES
from services.worker.runner.spec import Spec, SpecError, parse_gateway

ADK = """
class ADK:
    def __init__(self, apply_func, load_func=None):
        self.apply_func, self.load_func = apply_func, load_func
        self.is_local = True
        self.load_arity = 0

    def init(self, local_payload=None, pprint=print, mlops=False):
        raise AssertionError("it must not serve itself")
"""
ADK_IO = """
import traceback

def create_exception(error):
    return traceback.format_exception(etype=type(error), value=error, tb=error.__traceback__)
"""
HANDLER = """
import inspect

class Handler:
    def __init__(self, apply_func, load_func):
        self.arguments = inspect.getargspec(apply_func)
        self.apply_func, self.load_func = apply_func, load_func

    def serve(self):
        raise AssertionError("it must not serve itself")
"""


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Capture]:
    """Installed, with modules shaped as the published ones are on the path."""
    for path, text in {"adk/ADK.py": ADK, "adk/io.py": ADK_IO, "Algorithmia/handler.py": HANDLER}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).with_name("__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    made = Capture()
    made.install()
    yield made
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("adk", "Algorithmia"):
            del sys.modules[name]


def test_the_first_adk_that_wants_to_serve_is_noted(capture: Capture) -> None:
    from adk import ADK as published  # type: ignore[import-not-found]  # noqa: N811 - a module

    first = published.ADK(lambda input: input, lambda: "loaded")
    first.init("sample")
    published.ADK(lambda input: None).init("sample", mlops=True)
    assert capture.served is first
    assert not capture.wants_mlops
    apply, loaded = load_served(capture)
    assert (apply("x"), loaded, first.is_local) == ("x", "loaded", False)


def test_the_adks_rendering_gets_its_keyword_back_for_itself_alone(capture: Capture) -> None:
    import traceback

    from adk.io import create_exception  # type: ignore[import-not-found]

    assert create_exception(KeyError("k"))[-1] == "KeyError: 'k'\n"
    with pytest.raises(TypeError):
        traceback.format_exception(etype=KeyError)  # type: ignore[call-overload]


def test_a_handler_is_noted_and_can_count_arguments(capture: Capture) -> None:
    import inspect

    from Algorithmia.handler import Handler  # type: ignore[import-not-found]

    handler = Handler(lambda input, state=None: [input, state], lambda: {"a": 1})
    handler.serve()
    assert capture.served is handler
    assert handler.arguments == (["input", "state"], None, None, (None,))
    assert load_served(capture) == (handler.apply_func, {"a": 1})
    assert not hasattr(inspect, "getargspec")


class Undecided:
    """As arrays are."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


def one(value: Any) -> Any:
    return value


def two(value: Any, state: Any) -> Any:
    return state


def two_or_one(value: Any, state: Any = "default") -> Any:
    return state


def any_number(*values: Any) -> Any:
    return len(values)


class Bound:
    def apply(self, value: Any, state: Any) -> Any:
        return state


UNDECIDED = Undecided()


@pytest.mark.parametrize(
    ("apply", "loaded", "expected"),
    [
        (one, "state", "value"),
        (two, "state", "state"),
        (two, None, None),
        (two, {}, {}),
        (two_or_one, "state", "state"),
        (two_or_one, None, "default"),
        (two_or_one, [], "default"),
        (two, UNDECIDED, UNDECIDED),
        (two_or_one, UNDECIDED, UNDECIDED),
        (any_number, "state", 1),
        (Bound().apply, "state", "state"),
        (len, "state", 5),
    ],
)
def test_what_load_gave_is_passed_where_there_is_a_place(
    apply: Callable[..., Any], loaded: object, expected: object
) -> None:
    assert bind(apply, loaded)("value", "text") == expected


def test_pipe_answers_are_interpreted() -> None:
    assert interpret({"result": "x", "metadata": {"content_type": "text"}}) == "x"
    assert interpret({"result": "AP8=", "metadata": {"content_type": "binary"}}) == b"\x00\xff"
    assert interpret({"result": None}) is None
    for answer, message, error_type in (
        ({"error": {"message": "m", "error_type": "InputError"}}, "m", "InputError"),
        ({"error": "words"}, "words", "AlgorithmError"),
        ({"result": "no base64!", "metadata": {"content_type": "binary"}}, "not base64", "AlgorithmError"),
        ({}, "neither", "AlgorithmError"),
        ([], "not a JSON object", "AlgorithmError"),
    ):
        with pytest.raises(Failure) as caught:
            interpret(answer)
        assert message in caught.value.message
        assert caught.value.error_type == error_type


def test_gateways_are_addresses_or_paths() -> None:
    assert parse_gateway("http://10.0.0.1:8000").authority == "10.0.0.1:8000"
    assert parse_gateway("http://gateway/").authority == "gateway:80"
    assert parse_gateway("http://[::1]:8000").authority == "[::1]:8000"
    assert parse_gateway("unix:/run/gateway.sock").path == "/run/gateway.sock"
    for wrong in ("https://x:1", "ftp://x", "http://x:port", "unix:relative", ""):
        with pytest.raises(SpecError):
            parse_gateway(wrong)


@pytest.mark.parametrize(
    "members",
    [{}, {"name": ""}, {"concurrency": 0}, {"concurrency": True}, {"pipeline": "no"}, {"token": 5}, {"command": "x"}],
)
def test_a_specification_that_cannot_be_used_is_refused(members: dict[str, Any]) -> None:
    base = {"name": "a", "root": "/"} if members else {}
    with pytest.raises(SpecError):
        Spec({**base, **members})


def test_the_guardian_reads_the_call_that_the_host_writes() -> None:
    assert status.FITS
    shared = status.Status(2)
    slot = shared.slot(1)
    request_id, caller = b"r" * MAX_REQUEST_ID_BYTES, b"c" * MAX_CALLER_BYTES
    slot.begin(511, 10, 20, status.NO_HOLD, request_id, caller, partial=True)
    (call,) = shared.calls()
    assert (call.place, call.started_ns, call.deadline_ns, call.hold) == (511, 10, 20, status.NO_HOLD)
    assert (call.phase, call.request_id, call.caller) == (status.RUNNING, request_id, caller)
    assert shared.is_partial(511)
    slot.answering()
    assert shared.calls()[0].phase == status.ANSWERING
    slot.end()
    assert shared.calls() == []
    slot.begin(1, 1, 2, 5, b"short", caller[:5], partial=False)
    assert [(each.request_id, each.caller) for each in shared.calls()] == [(b"short", b"ccccc")]
    assert shared.calls_begun() == 2
    shared.set_partial(2, partial=True)
    shared.drain()
    assert (shared.is_partial(2), shared.is_partial(1), shared.draining) == (True, False, True)
    shared.clear()
    assert (shared.calls(), shared.calls_begun(), shared.draining, shared.is_partial(2)) == ([], 0, False, False)


def test_a_death_is_told_by_its_cause() -> None:
    shared = status.Status(2)
    shared.slot(0).begin(4, 10**9, 3 * 10**9, status.NO_HOLD, b"", b"", partial=False)
    shared.slot(1).begin(5, 10**9, 9 * 10**9, status.NO_HOLD, b"", b"", partial=False)
    late, other = shared.calls()
    assert endings.failure_of_death(late, "was killed", {4}).message.startswith("algorithm timed out after 2 seconds")
    assert endings.failure_of_death(late, "was killed", {4}).error_type == "TimeoutError"
    assert "another call in it timed out" in endings.failure_of_death(other, "was killed", {4}).message
    assert (
        endings.failure_of_death(other, "exited with code 3").message == "the algorithm's process exited with code 3"
    )


@pytest.mark.parametrize(
    ("wait_status", "words"),
    [
        (3 << 8, "exited with code 3"),
        (9, "was killed by signal 9 (SIGKILL); it may have run out of memory"),
        (11, "was killed by signal 11 (SIGSEGV)"),
        (40, "was killed by signal 40 (signal 40)"),
    ],
)
def test_wait_statuses_are_put_into_words(wait_status: int, words: str) -> None:
    assert processes.describe(wait_status) == words
