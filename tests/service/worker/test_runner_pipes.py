"""Algorithms in other languages, over the pipe protocol."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.replica import RUNNER, Replica, check, is_running, until

NODE = shutil.which("node")
TRACE = {"x-flags": "trace"}
STDOUT = {"x-flags": "stdout"}

PIPE = f"""#!{sys.executable}
import json, os, sys, time
print("starting", os.getcwd())
print("[INFO] PIPE_INIT_COMPLETE", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    data = request["data"]
    if data == "exit":
        sys.exit(5)
    if data == "kill":
        os.kill(os.getpid(), 9)
    if data == "hang":
        time.sleep(1000)
    answer = {{"result": data, "metadata": {{"content_type": request["content_type"]}}}}
    if data == "error":
        answer = {{"error": {{"message": "went wrong", "stacktrace": "at line 1", "error_type": "InputError"}}}}
    text = json.dumps(answer)
    if data == "garbage":
        text = "not json"
    if data == "pretty":
        text = json.dumps(answer, indent=2)
    if data == "nan":
        text = '{{"result": NaN}}'
    if data == "pid":
        text = json.dumps({{"result": os.getpid()}})
    if data == "print":
        print("printed before", flush=True)
    with open(os.environ["CONSTELLATION_PIPE"], "w") as pipe:
        pipe.write(text + "\\n")
    if data == "print":
        print("printed after", flush=True)
"""


def pipe_replica(tmp_path: Path, program: str = PIPE, load_timeout: float = 120) -> Replica:
    return Replica(
        tmp_path, files={"bin/pipe": program}, kind="pipe", command=["bin/pipe"], load_timeout=load_timeout
    )


def node_replica(tmp_path: Path, code: str, files: Mapping[str, str] | None = None) -> Replica:
    if NODE is None:
        pytest.skip("node is not installed")
    command = [NODE, str(RUNNER / "pipe_node.js"), "sample"]
    return Replica(tmp_path, files={"src/sample.js": code, **(files or {})}, kind="pipe", command=command)


def test_values_pass_through_a_repositorys_own_pipe(tmp_path: Path) -> None:
    with pipe_replica(tmp_path) as replica:
        caller = replica.caller()
        for value in ("text \u00fc\n\u2028 more", {"a": [1, None]}, 3, None, "x" * 3_000_000):
            assert caller.call(value).result == value
        answer = caller.call(bytes(range(256)))
        assert answer.json["metadata"]["content_type"] == "binary"
        assert caller.call(bytes(range(256)), headers={"x-flags": "raw"}).body == bytes(range(256))
        assert caller.call("pretty").result == "pretty"
        until(lambda: f"starting {replica.root}" in replica.log)


def test_errors_of_the_program_and_of_its_answers(tmp_path: Path) -> None:
    with pipe_replica(tmp_path) as replica:
        error = replica.call("error", headers=TRACE).error
        assert error == {
            "message": "went wrong",
            "error_type": "InputError",
            "stacktrace": "at line 1",
            "stack_trace": "at line 1",
        }
        assert "not JSON" in replica.call("garbage").error["message"]
        assert "NaN" in replica.call("nan").error["message"]
        assert replica.call("fine").result == "fine"
        assert replica.health["loads"] == 1


def test_output_around_the_answer_belongs_to_the_call(tmp_path: Path) -> None:
    with pipe_replica(tmp_path) as replica:
        stdout = replica.call("print", headers=STDOUT).json["metadata"]["stdout"]
        assert stdout.startswith("printed before\n")
        until(lambda: "printed after" in replica.log)


def test_a_program_that_ends_is_answered_for_and_started_again(tmp_path: Path) -> None:
    with pipe_replica(tmp_path) as replica:
        caller = replica.caller()
        error = caller.call("exit").error
        assert (error["error_type"], "exited with code 5" in error["message"]) == ("SystemExit", True)
        assert caller.call("fine").result == "fine"
        assert "killed by signal 9" in caller.call("kill").error["message"]
        assert caller.call("fine").result == "fine"
        assert caller.call("hang", timeout=1).error["error_type"] == "TimeoutError"
        program = caller.call("pid").result
        os.kill(program, signal.SIGKILL)
        until(lambda: replica.health["loads"] == 5)
        assert caller.call("pid").result != program


def test_a_program_that_closes_what_it_did_not_open_is_served_and_its_end_noticed(tmp_path: Path) -> None:
    program = PIPE.replace('print("starting", os.getcwd())', "os.closerange(3, 64)")
    with pipe_replica(tmp_path, program) as replica:
        caller = replica.caller()
        assert caller.call("fine").result == "fine"
        assert "exited with code 5" in caller.call("exit").error["message"]
        os.kill(caller.call("pid").result, signal.SIGKILL)
        until(lambda: replica.health["loads"] == 3)
        assert caller.call("fine").result == "fine"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("#!/bin/sh\necho no licence\nexit 4", "ended with code 4 before it was ready. It printed: no licence"),
        ("#!/bin/sh\necho waiting\nsleep 60", "was not ready within 0.5 seconds"),
        ("#!/no/such/interpreter\n", "could not be started"),
    ],
)
def test_a_program_that_does_not_become_ready_is_a_loading_error(tmp_path: Path, program: str, words: str) -> None:
    with pipe_replica(tmp_path, program, load_timeout=0.5 if "within" in words else 120) as replica:
        error = replica.call("x").error
        assert error["error_type"] == "LoadingError"
        assert words in error["message"]
        done = check(replica)
        assert done.returncode == 1
        assert words in done.stderr


def test_draining_ends_the_program_by_the_end_of_its_input(tmp_path: Path) -> None:
    program = PIPE + "\nopen('left', 'w').close()\n"
    with pipe_replica(tmp_path, program) as replica:
        pid = replica.call("pid").result
        replica.control("POST", "/drain")
        assert replica.guardian.wait(60) == 0
        assert (replica.root / "left").exists()
        assert not is_running(pid)


def test_check_starts_a_program_and_ends_it(tmp_path: Path) -> None:
    replica = pipe_replica(tmp_path)
    done = check(replica)
    assert done.returncode == 0
    assert "PIPE_INIT_COMPLETE" in done.stderr


def test_javascript_values_keep_their_type(tmp_path: Path) -> None:
    code = """
        const part = require('./part')
        exports.apply = (input, callback) => {
          console.log('received', typeof input)
          setTimeout(() => callback(null, part.same(input)), 1)
        }
    """
    files = {"src/part.js": "exports.same = value => value"}
    with node_replica(tmp_path, code, files) as replica:
        for value in ("text \u00fc", {"a": [1, None]}, 3, None, "x" * 3_000_000):
            assert replica.call(value).result == value
        assert replica.call(b"\x00\xff", headers={"x-flags": "raw"}).body == b"\x00\xff"
        assert "received string" in replica.call("x", headers=STDOUT).json["metadata"]["stdout"]
        assert check(replica).returncode == 0


def test_javascript_errors_and_styles(tmp_path: Path) -> None:
    code = """
        exports.apply = (input) => {
          if (input === 'promise') return Promise.resolve('kept')
          if (input === 'rejected') {
            return Promise.reject(Object.assign(new Error('no'), { error_type: 'InputError' }))
          }
          if (input === 'nothing') return undefined
          if (input === 'nan') return [NaN]
          throw new TypeError('thrown ' + input)
        }
    """
    with node_replica(tmp_path, code) as replica:
        assert replica.call("promise").result == "kept"
        assert replica.call("nothing").result is None
        error = replica.call("rejected").error
        assert (error["message"], error["error_type"]) == ("no", "InputError")
        assert "NaN" in replica.call("nan").error["message"]
        error = replica.call("x", headers=TRACE).error
        assert (error["message"], error["error_type"]) == ("thrown x", "AlgorithmError")
        assert "sample.js" in error["stacktrace"]


def test_javascript_that_cannot_be_loaded_is_a_loading_error(tmp_path: Path) -> None:
    with node_replica(tmp_path / "throws", "throw new Error('no model')") as replica:
        assert "no model" in replica.call("x").error["message"]
    with node_replica(tmp_path / "empty", "exports.run = 1") as replica:
        assert "exports no apply" in replica.call("x").error["message"]
