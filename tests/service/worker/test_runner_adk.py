"""Algorithms written for the published ADK, which is installed unmodified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from services.worker.runner.check import LOAD_RAISED
from tests.support.replica import Replica, check, until

TRACE = {"x-flags": "trace"}


def test_a_served_apply_keeps_the_type_of_each_value(tmp_path: Path, published: Path) -> None:
    code = """
        from Algorithmia import ADK

        def apply(input):
            print("received", type(input).__name__)
            return input

        ADK(apply).init("sample")
        after = "still run"
    """
    with Replica(tmp_path, code, python=published) as replica:
        for value in ("text ü", {"a": [1, 2.5, None, True]}, 3, None):
            assert replica.call(value).result == value
        answer = replica.call(b"\x00\xff", headers={"x-flags": "stdout"})
        assert (answer.result, answer.json["metadata"]["content_type"]) == ("AP8=", "binary")
        assert answer.json["metadata"]["stdout"] == "received bytes\n"
        assert "received str" in replica.log
        assert "sample" not in replica.log


def test_load_runs_once_and_its_result_is_passed_on(tmp_path: Path, published: Path) -> None:
    code = """
        from Algorithmia import ADK
        loads = 0

        def load():
            global loads
            loads += 1
            return {"calls": 0}

        def apply(input, state):
            state["calls"] += 1
            return [loads, state["calls"]]

        algorithm = ADK(apply, load)
        algorithm.init("sample")
    """
    with Replica(tmp_path, code, python=published) as replica:
        assert [replica.call("x").result for _ in range(3)] == [[1, 1], [1, 2], [1, 3]]


def test_an_error_arrives_with_its_type_its_text_and_its_trace(tmp_path: Path, published: Path) -> None:
    code = """
        from Algorithmia import ADK
        from Algorithmia.errors import AlgorithmException

        def apply(input):
            if "type" in input:
                raise AlgorithmException(input["message"], error_type=input["type"])
            raise ValueError(input["message"])

        ADK(apply).init({})
    """
    with Replica(tmp_path, code, python=published) as replica:
        error = replica.call({"message": "bad", "type": "InputError"}, headers=TRACE).error
        assert (error["message"], error["error_type"]) == ("bad", "InputError")
        error = replica.call({"message": "boom"}, headers=TRACE).error
        assert (error["message"], error["error_type"]) == ("boom", "AlgorithmError")
        assert error["stacktrace"] == error["stack_trace"]
        assert error["stacktrace"].startswith("Traceback")
        assert "ValueError: boom" in error["stacktrace"]
        assert "runner" not in error["stacktrace"]
        assert "stacktrace" not in replica.call({"message": "boom"}).error


def test_load_that_raises_answers_every_call_with_a_loading_error(tmp_path: Path, published: Path) -> None:
    code = """
        from Algorithmia import ADK

        def load():
            raise RuntimeError("no model here")

        ADK(lambda input: input, load).init("sample")
    """
    with Replica(tmp_path, code, python=published) as replica:
        for _ in range(2):
            answer = replica.call("x", headers=TRACE)
            assert (answer.status, answer.headers["x-outcome"]) == (200, "error")
            assert (answer.error["message"], answer.error["error_type"]) == ("no model here", "LoadingError")
            assert "in load" in answer.error["stacktrace"]
        until(lambda: replica.health["state"] == "ready")
        assert "no model here" in replica.health["reason"]
        done = check(replica)
        assert done.returncode == LOAD_RAISED
        assert done.stderr.splitlines()[-1] == "RuntimeError: no model here"


def test_a_frozen_model_manifest_is_given_to_load(tmp_path: Path, published: Path) -> None:
    manifest: dict[str, object] = {"required_files": [], "optional_files": [], "timestamp": "1"}
    manifest["lock_checksum"] = hashlib.md5(str(manifest).encode()).hexdigest()
    code = """
        from Algorithmia import ADK

        def load(models):
            models["greeting"] = "hello"
            return models

        def apply(input, models):
            return [models.available(), models["greeting"]]

        ADK(apply, load).init("sample")
    """
    files = {"model_manifest.json.freeze": json.dumps(manifest)}
    with Replica(tmp_path, code, python=published, files=files) as replica:
        assert replica.call("x").result == [True, "hello"]


def test_a_changed_manifest_is_a_loading_error(tmp_path: Path, published: Path) -> None:
    code = "from Algorithmia import ADK\nADK(lambda input: 1).init(1)"
    files = {"model_manifest.json.freeze": json.dumps({"required_files": [], "lock_checksum": "wrong"})}
    with Replica(tmp_path, code, python=published, files=files) as replica:
        error = replica.call("x").error
        assert error["error_type"] == "LoadingError"
        assert "Tamper" in error["message"]


def test_the_adks_own_exception_rendering_works_on_this_python(tmp_path: Path, published: Path) -> None:
    code = """
        import json
        from adk.io import create_exception

        def apply(input):
            try:
                raise KeyError("inner")
            except KeyError as error:
                return json.loads(create_exception(error))["error"]["stacktrace"]
    """
    with Replica(tmp_path, code, python=published) as replica:
        assert "KeyError: 'inner'" in replica.call("x").result


def test_an_unused_client_is_not_imported(tmp_path: Path, published: Path) -> None:
    code = """
        import sys
        def apply(input):
            return sorted({"adk", "Algorithmia", "requests"} & set(sys.modules))
    """
    with Replica(tmp_path, code, python=published) as replica:
        assert replica.call("x").result == []


@pytest.mark.parametrize("loads", [True, False])
def test_a_handler_of_the_old_client_is_served(tmp_path: Path, old_client: Path, loads: bool) -> None:
    code = f"""
        import Algorithmia

        def load():
            return {{"greeting": "hello"}}

        def apply(input, state=None):
            return [input.decode() if isinstance(input, bytes) else input, state]

        Algorithmia.handler(apply{", load" if loads else ""}).serve()
    """
    with Replica(tmp_path, code, python=old_client) as replica:
        state = {"greeting": "hello"} if loads else None
        assert replica.call("x").result == ["x", state]
        assert replica.call(b"bytes").result == ["bytes", state]


def test_check_loads_without_serving(tmp_path: Path, published: Path) -> None:
    code = """
        from Algorithmia import ADK
        print("importing")
        ADK(lambda input: 1 / 0).init("sample")
    """
    replica = Replica(tmp_path, code, python=published)
    done = check(replica)
    assert (done.returncode, done.stdout, done.stderr) == (0, "importing\n", "")
