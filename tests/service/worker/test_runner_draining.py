"""How replicas are drained and stopped: calls under way, and callers that wait."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.worker.test_runner_endings import MISBEHAVE
from tests.support.ports import free_ports
from tests.support.replica import Replica, is_running, until


def drain_by_signal(replica: Replica) -> None:
    replica.guardian.terminate()


def drain_by_request(replica: Replica) -> None:
    assert replica.control("POST", "/drain").status == 202


@pytest.mark.parametrize("drain", [drain_by_signal, drain_by_request])
def test_draining_finishes_the_call_under_way_and_begins_no_other(
    tmp_path: Path, drain: Callable[[Replica], None]
) -> None:
    code = """
        import os, time
        def apply(input):
            while not os.path.exists("go"):
                time.sleep(0.01)
            return input
    """
    with Replica(tmp_path, code) as replica:
        busy, waiting, idle = (replica.caller() for _ in range(3))
        idle.request("GET", "/health")
        busy.send("under way")
        until(lambda: replica.health["in_flight"] == 1)
        waiting.send("too late")
        drain(replica)
        until(lambda: replica.state["state"] == "draining")
        assert replica.health["state"] == "draining"
        assert not (replica.place / "call.sock").exists()
        (replica.root / "go").touch()
        assert busy.receive().result == "under way"
        answer = waiting.receive()
        assert (answer.status, answer.headers["x-outcome"]) == (503, "unstarted")
        farewell = idle.receive_raw()
        assert farewell.startswith(b"HTTP/1.1 503 "), "so that a call which crosses it is known not to have begun"
        assert b"x-outcome: unstarted\r\n" in farewell
        assert replica.guardian.wait(60) == 0
        assert replica.state["state"] == "stopped"


def test_a_call_whose_input_is_being_read_when_draining_begins_is_not_begun(tmp_path: Path) -> None:
    code = """
        import json, os, time
        decode = json.JSONDecoder.raw_decode
        def decode_when_told(*args, **options):
            open("reading", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
            return decode(*args, **options)
        json.JSONDecoder.raw_decode = decode_when_told
        def apply(input):
            open("began", "w").close()
            return input
    """
    with Replica(tmp_path, code) as replica:
        caller = replica.caller()
        caller.send(["a large input"])
        until((replica.root / "reading").exists)
        replica.control("POST", "/drain")
        until(lambda: replica.health["state"] == "draining")
        (replica.root / "go").touch()
        answer = caller.receive()
        assert (answer.status, answer.headers["x-outcome"]) == (503, "unstarted")
        assert replica.guardian.wait(60) == 0
        assert not (replica.root / "began").exists()


def test_a_health_port_answers_while_a_call_runs_and_takes_no_orders(tmp_path: Path) -> None:
    code = """
        import os, time
        def apply(input):
            while not os.path.exists("go"):
                time.sleep(0.01)
            return input
    """
    (port,) = free_ports(1)
    with Replica(tmp_path, code, health=f"127.0.0.1:{port}") as replica:
        busy = replica.caller()
        busy.send("under way")
        until(lambda: replica.health["in_flight"] == 1)
        probe = replica.caller(tcp=("127.0.0.1", port))
        answers = [probe.request("GET", path) for path in ("/ready", "/health")]
        assert [(one.status, one.json["state"]) for one in answers] == [(200, "busy"), (200, "busy")]
        assert [probe.request("POST", path).status for path in ("/stop", "/health")] == [404, 405]
        replica.control("POST", "/drain")
        until(lambda: replica.state["state"] == "draining")
        answers = [probe.request("GET", path) for path in ("/ready", "/health")]
        assert [(one.status, one.json["state"]) for one in answers] == [(503, "draining"), (200, "draining")]
        (replica.root / "go").touch()
        assert busy.receive().result == "under way"
        assert replica.guardian.wait(60) == 0


def test_draining_keeps_the_deadline_of_the_call_under_way(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        caller = replica.caller()
        caller.send(["spin"], timeout=3)
        until(lambda: replica.health["in_flight"] == 1)
        replica.control("POST", "/drain")
        assert caller.receive().error["error_type"] == "TimeoutError"
        assert replica.guardian.wait(60) == 0


def test_stopping_answers_the_call_under_way_and_ends_at_once(tmp_path: Path) -> None:
    with Replica(tmp_path, MISBEHAVE) as replica:
        caller = replica.caller()
        caller.send(["sleep", 60])
        until(lambda: replica.health["in_flight"] == 1)
        assert replica.control("POST", "/stop").status == 202
        error = caller.receive().error
        assert (error["error_type"], "stopped" in error["message"]) == ("SystemExit", True)
        assert replica.guardian.wait(60) == 0


def test_an_answer_that_stopping_cuts_off_gets_no_other_words_in_its_place(tmp_path: Path) -> None:
    code = """
        def apply(input):
            return "x" * 5_000_000
    """
    with Replica(tmp_path, code) as replica:
        caller, host = replica.caller(), replica.host
        caller.send("a large result")
        begun = caller.socket.recv(1)
        os.kill(host, signal.SIGSTOP)  # so that there is room on the connection that it does not fill
        caller.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while piece := caller.socket.recv(65536):
                begun += piece
        caller.socket.settimeout(60)
        assert replica.control("POST", "/stop").status == 202
        rest = caller.receive_raw()
        assert b"unstarted" not in rest
        assert len(begun + rest) < 5_000_000
        assert replica.guardian.wait(60) == 0


def test_a_host_that_will_not_leave_is_ended(tmp_path: Path) -> None:
    code = """
        import threading, time
        threading.Thread(target=time.sleep, args=(1000,)).start()
        def apply(input):
            return input
    """
    with Replica(tmp_path, code) as replica:
        host = replica.host
        replica.control("POST", "/drain")
        assert replica.guardian.wait(60) == 0
        assert not is_running(host)
