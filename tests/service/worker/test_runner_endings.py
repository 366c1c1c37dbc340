"""How calls, hosts and replicas end by themselves: deadlines, deaths, what cannot be loaded."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from services.worker.runner.guardian import MAX_DEATHS
from tests.support.replica import Caller, Replica, is_running, open_files, until

MISBEHAVE = """
    import ctypes, os, signal, subprocess, sys, time
    started = []

    def apply(input):
        if not isinstance(input, list):
            return input
        what = input[0]
        if what == "spin":
            while True:
                pass
        if what == "hold the interpreter":
            ctypes.PyDLL(None).sleep(60)
        if what == "sleep":
            time.sleep(input[1])
        if what == "exit":
            os._exit(input[1])
        if what == "sys.exit":
            print("going", flush=True)
            sys.exit(input[1])
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "crash":
            ctypes.string_at(0)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "note and sleep":
            child = subprocess.Popen(["setsid", "sh", "-c", "sleep 1000 & sleep 1000"])
            with open(input[1], "w") as file:
                file.write(str(child.pid))
            time.sleep(60)
        return os.getpid()
"""


def test_a_call_past_its_time_is_answered_and_the_next_one_served(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        caller = replica.caller()
        for how in (["spin"], ["hold the interpreter"], ["sleep", 60]):
            answer = caller.call(how, timeout=1, headers={"x-request-id": "req-late"})
            assert (answer.status, answer.headers["x-outcome"]) == (200, "error")
            assert answer.error["error_type"] == "TimeoutError"
            assert "timed out after 1 seconds" in answer.error["message"]
            assert answer.json["request_id"] == "req-late"
            assert answer.json["metadata"]["duration"] >= 1
            assert caller.call("next").result == "next"
        assert replica.health["loads"] == 4


def test_what_a_call_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with Replica(tmp_path, MISBEHAVE) as replica:
        for loads, seconds in enumerate((1, 10, 60), start=2):  # a busy machine may not come so far in a second
            error = replica.call(["note and sleep", str(note)], timeout=seconds).error
            assert error["error_type"] == "TimeoutError"
            until(lambda loads=loads: replica.health["loads"] == loads)  # type: ignore[misc]
            if note.exists() and note.read_text():
                break
        assert not is_running(int(note.read_text()))
        guardian = replica.guardian.pid
        children = Path(f"/proc/{guardian}/task/{guardian}/children")
        until(lambda: children.read_text().split() == [str(replica.host)])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (["exit", 3], "exited with code 3"),
        (["exit", 0], "exited with code 0"),
        (["sys.exit", 4], "exited with code 4"),
        (["sys.exit", "words"], "exited with code 1"),
        (["sys.exit", None], "exited with code 0"),
        (["interrupt"], "exited with code 130"),
        (["crash"], "killed by signal 11 (SIGSEGV)"),
        (["kill"], "it may have run out of memory"),
    ],
)
def test_a_process_that_ends_in_a_call_is_answered_for_and_replaced(
    tmp_path: Path, how: list[object], words: str
) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        caller, idle = replica.caller(), replica.caller()
        assert idle.call("x").result == "x"
        answer = caller.call(how, headers={"x-flags": "stdout"})
        assert (answer.status, answer.error["error_type"]) == (200, "SystemExit")
        assert words in answer.error["message"]
        assert ("going" in answer.json["metadata"]["stdout"]) == (how[0] == "sys.exit")
        assert caller.call("same connection").result == "same connection"
        assert idle.call("other connection").result == "other connection"
        assert replica.state["state"] == "ready"


def test_a_call_that_waits_while_the_process_dies_is_served_by_the_next(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        first, second, partial = replica.caller(), replica.caller(), replica.caller()
        partial.socket.sendall(b"POST /call HTTP/1.1\r\ncontent-length: 5\r\n\r\nab")
        assert second.call("taken").result == "taken"
        first.send(["sleep", 60], timeout=3)
        until(lambda: replica.health["state"] == "busy")
        second.send("waits")
        assert first.receive().error["error_type"] == "TimeoutError"
        assert second.receive().result == "waits"
        answer = partial.receive_raw()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"x-outcome: unstarted" in answer


def test_a_forked_child_that_returns_from_apply_answers_nothing(tmp_path: Path) -> None:
    code = """
        import os
        def apply(input):
            return "child" if os.fork() == 0 else "parent"
    """
    with Replica(tmp_path, code) as replica:
        caller = replica.caller()
        assert [caller.call("x").result for _ in range(5)] == ["parent"] * 5


def test_a_host_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        caller = replica.caller()
        first = caller.call(["pid"]).result
        until(lambda: replica.health["in_flight"] == 0)
        os.kill(first, signal.SIGKILL)
        assert caller.call(["pid"]).result != first
        until(lambda: replica.health["loads"] == 2)


def test_a_host_that_dies_again_and_again_fails_the_replica(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        for _ in range(MAX_DEATHS):
            assert "code 3" in replica.call(["exit", 3]).error["message"]
        assert replica.call("fine").result == "fine"
        for _ in range(MAX_DEATHS):
            assert "code 3" in replica.call(["exit", 3]).error["message"]
        assert "code 3" in replica.call(["exit", 3]).error["message"]
        assert replica.guardian.wait(60) == 1
        assert replica.state["state"] == "failed"
        assert "exited with code 3" in replica.state["reason"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os\nos._exit(7)", "exited with code 7 while it was loading"),
        ("import sys\nsys.exit(8)", "exited with code 8 while it was loading"),
        ("import time\ntime.sleep(60)", "did not load within 0.5 seconds"),
        ("while True:\n    pass", "did not load within 0.5 seconds"),
    ],
)
def test_a_process_that_ends_or_hangs_while_loading_fails_the_replica(tmp_path: Path, code: str, words: str) -> None:
    with Replica(tmp_path, code, load_timeout=0.5 if "within" in words else 120) as replica:
        assert replica.guardian.wait(60) == 1
        assert replica.state["state"] == "failed"
        assert words in replica.state["reason"]
        assert words in replica.log


def test_a_call_that_waits_for_a_load_that_fails_is_told_that_it_was_not_begun(tmp_path: Path) -> None:
    code = """
        import os, time
        while not os.path.exists("go"):
            time.sleep(0.01)
        os._exit(7)
    """
    replica = Replica(tmp_path, code)
    replica.start()
    with replica:
        caller = replica.caller()
        until(lambda: replica.listens)
        caller.send("x")
        assert replica.health["state"] == "starting"
        (replica.root / "go").touch()
        answer = caller.receive()
        assert (answer.status, answer.headers["x-outcome"]) == (503, "unstarted")
        assert "exited with code 7" in answer.error["message"]


def test_too_much_memory_is_an_error_and_the_replica_goes_on(tmp_path: Path) -> None:
    code = """
        def apply(input):
            if input == "eat":
                return len(bytearray(2 << 30))
            return input
    """
    limited = ["sh", "-c", 'ulimit -d 524288 && exec "$@"', "sh"]
    with Replica(tmp_path, code, prefix=limited) as replica:
        error = replica.call("eat").error
        assert error["error_type"] == "OutOfMemoryError"
        assert replica.call("fine").result == "fine"
        assert replica.health["loads"] == 1


def test_more_connections_than_files_may_be_open_are_served_in_turn(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -n 40 && exec "$@"', "sh"]
    with Replica(tmp_path, MISBEHAVE, prefix=limited) as replica:
        callers = [replica.caller() for _ in range(60)]
        for number, caller in enumerate(callers):
            caller.send(number)
        for number, caller in enumerate(callers):
            assert caller.receive().result == number
            caller.close()
        assert replica.health["loads"] == 1


def test_a_connection_that_the_algorithm_leaves_no_room_for_is_told_so(tmp_path: Path) -> None:
    code = """
        import os, resource
        opened = []
        def apply(input):
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            if input == "close":
                while opened:
                    os.close(opened.pop())
            else:
                try:
                    while True:
                        opened.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    pass
            return input
    """
    with Replica(tmp_path, code) as replica:
        caller = replica.caller()
        assert caller.call("open").result == "open"
        answer = replica.caller().receive_raw()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"x-outcome: unstarted" in answer
        assert b"too many files open" in answer
        assert caller.call("close").result == "close"
        assert replica.call("close").result == "close"


def test_a_replica_that_must_load_ends_when_it_cannot(tmp_path: Path) -> None:
    with Replica(tmp_path, "raise ValueError('no model')", must_load=True) as replica:
        assert replica.guardian.wait(60) == 1
        assert replica.state["state"] == "failed"
        assert "ValueError: no model" in replica.log
        assert replica.log.rstrip().splitlines()[-1].endswith("loading failed: no model")


def test_the_host_does_not_outlive_its_guardian(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        host = replica.host
        replica.guardian.kill()
        replica.guardian.wait()
        until(lambda: not is_running(host))


def test_sockets_left_by_a_dead_guardian_are_taken_over_and_those_in_use_are_not(tmp_path: Path) -> None:
    with Replica(tmp_path / "first", MISBEHAVE) as first:
        addresses = {name: first.spec[name] for name in ("socket", "control")}
        with Replica(tmp_path / "second", MISBEHAVE, **addresses) as second:
            assert second.guardian.wait(60) == 1
            assert second.state["state"] == "failed"
            assert "another process listens" in second.state["reason"]
        assert first.call("still served").result == "still served"
        first.guardian.kill()
        first.guardian.wait()
        with Replica(tmp_path / "third", MISBEHAVE, **addresses):
            assert first.call("served again").result == "served again"


def test_a_gateway_that_leaves_during_its_call_leaves_the_replica_as_it_was(tmp_path: Path) -> None:
    code = """
        import os, time
        def apply(input):
            while not os.path.exists(input):
                time.sleep(0.01)
            return input
    """
    with Replica(tmp_path, code) as replica:
        for number in range(3):
            leaver: Caller = replica.caller()
            leaver.send(f"go {number}")
            until(lambda: replica.health["in_flight"] == 1)
            leaver.close()
            (replica.root / f"go {number}").touch()
            until(lambda: replica.health["in_flight"] == 0)
        assert replica.call("go 0").result == "go 0"
        assert replica.health["loads"] == 1

        def sockets(pid: int) -> int:
            return sum(target.startswith("socket:") for target in open_files(pid).values())

        host = replica.host
        until(lambda: sockets(host) == 1)
        until(lambda: sockets(replica.guardian.pid) <= 5)


def test_a_wrong_specification_is_refused_in_words(tmp_path: Path) -> None:
    for members, words in (
        ({"kind": "ruby"}, '"kind" must be'),
        ({"kind": "pipe"}, '"command"'),
        ({"gateways": ["https://x"]}, "http://HOST:PORT"),
        ({"tcp": "nowhere"}, "HOST:PORT"),
        ({"load_timeout": 0}, "above 0"),
        ({"socket": None}, '"socket" must be a text'),
    ):
        replica = Replica(tmp_path / str(len(list(tmp_path.iterdir()))), MISBEHAVE, **members)
        assert json.loads(replica.spec_path.read_text())
        with replica:
            assert replica.guardian.wait(60) == 2
            assert words in replica.words
