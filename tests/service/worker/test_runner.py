"""A replica's calls: values in, results and errors out, and what is captured between."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from services.worker.runner.check import LOAD_RAISED
from tests.support.ports import free_ports
from tests.support.replica import Replica, check, installed_python, is_running, open_files, until

ECHO = """
    def apply(input):
        return input
"""
STDOUT = {"x-flags": "stdout"}


def test_values_keep_their_type(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        for value, kind in (("", "text"), ("\u260e \U0001f600", "text"), ([], "json"), (None, "json"), (1.5, "json")):
            answer = replica.call(value)
            assert (answer.status, answer.result, answer.json["metadata"]["content_type"]) == (200, value, kind)
            assert answer.json["request_id"] == "req-1"
            assert answer.json["metadata"]["duration"] >= 0
            assert (answer.headers["x-outcome"], answer.headers["content-type"]) == ("ok", "application/json")
            assert float(answer.headers["x-duration"]) >= 0
        answer = replica.call('"a \\ud800 b"', content_type="application/json")
        assert answer.result == "a \ud800 b"


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13"])
def test_algorithms_of_other_pythons_are_served(tmp_path: Path, version: str) -> None:
    python = installed_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    code = """
        import os, sys
        def load():
            return list(sys.version_info[:2])
        def apply(input, version):
            print("printed")
            if input == "exit":
                os._exit(3)
            if input == "raise":
                raise ValueError("raised")
            return version
    """
    with Replica(tmp_path, code, python=python, concurrency=1) as replica:
        answer = replica.call("x", headers=STDOUT)
        assert ".".join(map(str, answer.result)) == version
        assert answer.json["metadata"]["stdout"] == "printed\n"
        assert "ValueError: raised" in replica.call("raise", headers={"x-flags": "trace"}).error["stacktrace"]
        assert "code 3" in replica.call("exit").error["message"]
        assert replica.call("x").status == 200
        assert check(replica).returncode == 0


def test_raw_output_is_the_bare_result(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        raw = {"x-flags": "raw"}
        answer = replica.call("f\u00fc", headers=raw)
        assert (answer.body, answer.headers["content-type"]) == ("f\u00fc".encode(), "text/plain; charset=utf-8")
        answer = replica.call({"a": [1, "\u00fc"]}, headers=raw)
        assert (answer.body, answer.headers["content-type"]) == ('{"a":[1,"\u00fc"]}'.encode(), "application/json")
        answer = replica.call(b"\x00\xff", headers=raw)
        assert (answer.body, answer.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")


def test_bodies_that_are_not_what_their_type_says_are_refused(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        for body, kind, code, words in (
            (b'{"a": }', "application/json", 2013, "line 1 column 7"),
            (b"", "application/json", 2013, "line 1 column 1"),
            (b"[NaN]", "application/json", 2013, "NaN"),
            (b'"\xff"', "application/json", 2013, "position 1"),
            (b"ab\xff", "text/plain", 2015, "position 2"),
        ):
            answer = replica.call(body, content_type=kind)
            assert (answer.status, answer.error["code"], answer.headers["x-outcome"]) == (400, code, "error")
            assert words in answer.error["message"]
        assert replica.call(b"x", content_type="image/png").status == 415
        assert replica.call("x", headers={"x-timeout": "soon"}).status == 400
        assert replica.health["calls"] == 0
        assert replica.call("alive").result == "alive"


def test_results_that_json_cannot_hold_are_errors_that_say_so(tmp_path: Path) -> None:
    code = """
        class Thing:
            pass

        def apply(input):
            loop = []
            loop.append(loop)
            deep = []
            for _ in range(100000):
                deep = [deep]
            return {
                "nan": [float("nan")], "infinity": float("inf"), "generator": (x for x in ()), "object": Thing(),
                "key": {(1, 2): 3}, "loop": loop, "deep": deep, "set": {1},
            }[input]
    """
    with Replica(tmp_path, code) as replica:
        for value, words in (
            ("nan", "NaN"),
            ("infinity", "Infinity"),
            ("generator", "generator is not JSON"),
            ("object", "Thing is not JSON"),
            ("key", "keys must be"),
            ("loop", "Circular"),
            ("deep", "nested too deeply"),
            ("set", "set is not JSON"),
        ):
            answer = replica.call(value)
            assert (answer.status, answer.error["error_type"]) == (200, "AlgorithmError")
            assert words in answer.error["message"]
        assert replica.health["loads"] == 1


def test_results_over_the_limit_are_refused_and_those_at_it_arrive(tmp_path: Path) -> None:
    code = """
        def apply(input):
            return bytes(input)
    """
    with Replica(tmp_path, code) as replica:
        most = 15 * 1024 * 1024
        caller = replica.caller()
        assert len(base64.b64decode(caller.call(most).result)) == most
        error = caller.call(most + 1).error
        assert error["error_type"] == "TooLargeError"
        assert str(most + 1) in error["message"]
        assert len(caller.call(most, headers={"x-flags": "raw"}).body) == most


def test_large_bodies_arrive_whole(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        body = os.urandom(10 * 1024 * 1024)
        caller = replica.caller()
        assert base64.b64decode(caller.call(body).result) == body
        assert caller.call("small").result == "small"


def test_a_gateway_that_reads_late_gets_the_whole_answer(tmp_path: Path) -> None:
    code = """
        def apply(input):
            return "x" * input
    """
    with Replica(tmp_path, code) as replica:
        slow = replica.caller()
        slow.send(8_000_000)
        until(lambda: replica.health["calls"] == 1)
        assert len(slow.receive().result) == 8_000_000


def test_calls_of_several_connections_are_answered_one_at_a_time(tmp_path: Path) -> None:
    code = """
        import time
        inside = 0
        def apply(input):
            global inside
            inside += 1
            time.sleep(0.01)
            seen, inside = inside, inside - 1
            return [input, seen]
    """
    with Replica(tmp_path, code) as replica:
        callers = [replica.caller() for _ in range(4)]
        for turn in range(3):
            for index, caller in enumerate(callers):
                caller.send(f"{turn}.{index}")
            for index, caller in reversed(list(enumerate(callers))):
                assert caller.receive().result == [f"{turn}.{index}", 1]


def test_a_body_that_comes_slowly_holds_up_no_other_connection(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        slow = replica.caller()
        slow.socket.sendall(b"POST /call HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nab")
        assert replica.call("quick").result == "quick"
        slow.socket.sendall(b"cd")
        assert b'"result":"abcd"' in slow.socket.recv(65536)


def test_declared_concurrency_runs_calls_side_by_side(tmp_path: Path) -> None:
    code = """
        import threading
        barrier = threading.Barrier(3)
        def apply(input):
            print("inside")
            return barrier.wait(60) >= 0
    """
    with Replica(tmp_path, code, concurrency=3) as replica:
        callers = [replica.caller() for _ in range(3)]
        for _ in range(2):
            for caller in callers:
                caller.send("x", headers=STDOUT)
            for caller in callers:
                answer = caller.receive()
                assert answer.result is True
                assert "log" in answer.json["metadata"]["stdout"]
        until(lambda: replica.log.count("inside") == 6)


def test_output_of_a_call_is_captured_in_order_with_that_of_its_children(tmp_path: Path) -> None:
    code = """
        import ctypes, os, subprocess, sys
        print("while loading")
        def apply(input):
            print("first", end=" ")
            print("second", file=sys.stderr)
            subprocess.run(["echo", "third"])
            os.write(1, b"fourth\\n")
            ctypes.CDLL(None).puts(b"fifth")
            print(input)
            return None
    """
    with Replica(tmp_path, code) as replica:
        answer = replica.call("\u00fc", headers=STDOUT)
        assert answer.json["metadata"]["stdout"] == "first second\nthird\nfourth\nfifth\n\u00fc\n"
        assert "stdout" not in replica.call("unasked").json["metadata"]
        assert replica.call("again", headers=STDOUT).json["metadata"]["stdout"].count("first") == 1
        until(lambda: replica.log.count("third") == 3)
        assert replica.log.startswith("while loading\nfirst second\n")


def test_a_flood_of_output_is_cut_in_the_middle_and_takes_little_memory(tmp_path: Path) -> None:
    code = """
        def apply(input):
            print("the beginning")
            for _ in range(100):
                print("x" * (1 << 20))
            print("the end")
            return "done"
    """
    with Replica(tmp_path, code) as replica:
        answer = replica.call("x", headers=STDOUT)
        stdout = answer.json["metadata"]["stdout"]
        assert answer.result == "done"
        assert stdout.startswith("the beginning\n")
        assert stdout.endswith("the end\n")
        assert f"{100 * (1 << 20) + 100 + 22 - (1 << 20)} bytes of output cut here" in stdout
        assert len(stdout) < (1 << 20) + 200

        def held() -> int:
            return output.stat().st_blocks * 512

        files = open_files(replica.guardian.pid)
        output = next(link for link, target in files.items() if "memfd:output" in target)
        until(lambda: held() < 1 << 20)
        sizes = [path.stat().st_size for path in replica.place.glob("log*")]
        assert sum(sizes) < 6 << 20


def test_an_apply_that_is_missing_is_a_loading_error(tmp_path: Path) -> None:
    with Replica(tmp_path, "def run(input):\n    return input") as replica:
        error = replica.call("x").error
        assert error["error_type"] == "LoadingError"
        assert "defines no apply" in error["message"]
        assert check(replica).returncode == 1


def test_a_module_that_is_missing_or_broken_is_a_loading_error(tmp_path: Path) -> None:
    with Replica(tmp_path / "missing", files={"src/other.py": ""}) as replica:
        assert "src/sample.py" in replica.call("x").error["message"]
    with Replica(tmp_path / "broken", "import no_such_module_anywhere") as replica:
        error = replica.call("x", headers={"x-flags": "trace"}).error
        assert error["error_type"] == "LoadingError"
        assert "no_such_module_anywhere" in error["message"]
        assert error["stacktrace"].splitlines()[1].endswith('sample.py", line 1, in <module>')


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "state = None\ndef load():\n    global state\n    state = 'set'\ndef apply(input):\n    return state",
            "set",
        ),
        ("def load():\n    return {}\ndef apply(input, state):\n    return state", {}),
        ("def load():\n    return []\ndef apply(input, state='none'):\n    return state", "none"),
        ("def load():\n    return 'given'\ndef apply(input, state='none'):\n    return state", "given"),
        ("import os\ndef apply(input):\n    return os.path.exists('src/sample.py')", True),
        ("from src.part import value\ndef apply(input):\n    return value", 7),
    ],
)
def test_plain_algorithms_load_in_each_style(tmp_path: Path, code: str, expected: object) -> None:
    with Replica(tmp_path, code, files={"src/part.py": "value = 7"}) as replica:
        assert replica.call("x").result == expected
        assert check(replica).returncode == 0


def test_check_tells_a_broken_algorithm_from_one_whose_load_raises(tmp_path: Path) -> None:
    for number, (code, status, last) in enumerate(
        (
            ("def apply(input):\n    return 1 / 0", 0, ""),
            ("import os\nos.environ['ALGORITHMIA_API']\ndef apply(input):\n    pass", 0, ""),
            (
                "def load():\n    raise OSError('no secret')\ndef apply(input):\n    pass",
                LOAD_RAISED,
                "OSError: no secret",
            ),
            (
                "def load():\n    exit(4)\ndef apply(input):\n    pass",
                1,
                "LoadingError: the algorithm ended its process",
            ),
            ("import no_such_module", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
            ("def apply(input:", 1, "SyntaxError:"),
            ("x = 1", 1, "LoadingError: src/sample.py defines no apply"),
            ("import threading\nthreading.Event().wait and 0\nraise KeyboardInterrupt", 1, "KeyboardInterrupt"),
        )
    ):
        done = check(Replica(tmp_path / str(number), code))
        assert done.returncode == status
        assert ["", *done.stderr.splitlines()][-1].startswith(last)


def test_errors_name_their_type_or_are_algorithm_errors(tmp_path: Path) -> None:
    code = """
        class Typed(Exception):
            def __init__(self, message, error_type):
                super().__init__(message)
                self.error_type = error_type

        class Silent(Exception):
            def __str__(self):
                raise ValueError("no text")

        def apply(input):
            raise {
                "named": Typed("m", "UnsupportedError"), "numbered": Typed("m", 7), "bare": RuntimeError(),
                "memory": MemoryError(), "silent": Silent(), "generator": GeneratorExit("left"),
            }[input]
    """
    with Replica(tmp_path, code) as replica:
        for value, error_type, words in (
            ("named", "UnsupportedError", "m"),
            ("numbered", "AlgorithmError", "m"),
            ("bare", "AlgorithmError", "RuntimeError"),
            ("memory", "OutOfMemoryError", "out of memory"),
            ("silent", "AlgorithmError", "Silent"),
            ("generator", "AlgorithmError", "left"),
            ("unknown", "AlgorithmError", "'unknown'"),
        ):
            answer = replica.call(value, headers={"x-flags": "trace"})
            assert (answer.status, answer.error["error_type"]) == (200, error_type)
            assert words in answer.error["message"]
            assert answer.error["stacktrace"]
        assert replica.health["loads"] == 1


def test_other_requests_on_the_call_socket(tmp_path: Path) -> None:
    with Replica(tmp_path, ECHO) as replica:
        caller = replica.caller()
        assert caller.request("GET", "/health").json == {"state": "ready"}
        assert caller.request("GET", "/call").status == 405
        assert caller.request("GET", "/other").status == 404
        answer = caller.request("GET", "/health", {"connection": "close"})
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        malformed = replica.caller()
        malformed.socket.sendall(b"nonsense\r\n\r\n")
        assert malformed.socket.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert malformed.socket.recv(65536) == b""


def test_calls_over_tcp_need_the_replicas_token(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = ("127.0.0.1", port)
    with Replica(tmp_path, ECHO, tcp=f"127.0.0.1:{port}", token="right") as replica:
        caller = replica.caller(tcp=address)
        assert caller.call("x").status == 403
        assert caller.call("x", headers={"x-replica-token": "wrong"}).status == 403
        assert caller.call("x", headers={"x-replica-token": "right"}).result == "x"
        assert replica.call("unix").result == "unix"


def test_who_does_not_show_the_token_has_a_place_for_a_while_only(tmp_path: Path) -> None:
    code = """
        import os, time
        def apply(input):
            while input == "wait" and not os.path.exists("go"):
                time.sleep(0.01)
            return input
    """
    (port,) = free_ports(1)
    address = ("127.0.0.1", port)
    token = {"x-replica-token": "right"}
    with Replica(tmp_path, code, tcp=f"127.0.0.1:{port}", token="right") as replica:
        silent, halfway, wrong, idle, slow, waiting = (replica.caller(tcp=address) for _ in range(6))
        assert silent.socket.getpeername() == address
        halfway.socket.sendall(b"POST /call HTTP/1.1\r\n")
        assert wrong.call("x", headers={"x-replica-token": "wrong"}).status == 403
        assert idle.call("x", headers=token).result == "x"
        head = (
            b"POST /call HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nx-replica-token: right\r\n\r\n"
        )
        slow.socket.sendall(head + b"sl")
        busy = replica.caller()
        busy.send("wait")
        until(lambda: replica.health["in_flight"] == 1)
        waiting.send("its turn", headers=token)
        late = replica.caller(tcp=address)
        late.socket.sendall(b"x")
        assert [one.receive_raw() for one in (silent, halfway, wrong, late)] == [b""] * 4
        (replica.root / "go").touch()
        assert busy.receive().result == "wait"
        assert waiting.receive().result == "its turn"
        slow.socket.sendall(b"ow")
        assert slow.socket.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert idle.call("still here", headers=token).result == "still here"


def test_nothing_is_left_when_the_replica_ends(tmp_path: Path) -> None:
    code = """
        import subprocess
        def apply(input):
            return subprocess.Popen(["setsid", "sleep", "1000"]).pid
    """
    with Replica(tmp_path, code) as replica:
        sleeper = replica.call("x").result
        host = replica.host
        assert is_running(sleeper)
    assert replica.guardian.returncode == 0
    assert replica.state["state"] == "stopped"
    assert not is_running(sleeper)
    assert not is_running(host)
    assert not (replica.place / "call.sock").exists()
