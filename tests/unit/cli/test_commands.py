"""The commands, from the line that is typed to the requests that are made and what is printed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from constellation.cli import app
from tests.unit.cli.git import commits_of, served_repository, write
from tests.unit.cli.platform import ADMIN_KEY, KEY, URL, Platform, Run, algorithm, finished_log


def test_a_list_is_lines_with_tabs_for_programs_that_want_no_json(run: Run, platform: Platform) -> None:
    platform.on("GET /v1/algorithms", {"results": [algorithm()], "marker": None})
    done = run("algo", "ls")
    assert done.exit_code == 0
    assert done.stdout == "OWNER\tNAME\tLANGUAGE\tLABEL\nana\thello\tpython3-1\tHello\n"
    assert platform.keys == {KEY}


def test_a_list_in_json_is_what_the_server_said(run: Run, platform: Platform) -> None:
    platform.on("GET /v1/users/ana/algorithms", {"results": [algorithm()], "marker": None})
    assert json.loads(run("algo", "ls", "--owner", "ana", "--json").stdout) == [algorithm()]


def test_text_of_others_cannot_steer_the_terminal(run: Run, platform: Platform) -> None:
    evil = algorithm(details={"label": "\x1b[2J\x07gone\x9b31m\ttab\nline"})
    platform.on("GET /v1/algorithms", {"results": [evil], "marker": None})
    assert run("algo", "ls").stdout.splitlines()[1] == "ana\thello\tpython3-1\t[2Jgone31m tab line"


def test_an_algorithm_is_created_with_settings_that_go_together(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/algorithms/ana", algorithm(), 201)
    done = run("algo", "create", "hello", "--language", "javascript", "--license", "mit", "--isolated")
    assert done.exit_code == 0
    assert f"{URL}/git/ana/hello.git" in done.stdout
    assert platform.body == {
        "name": "hello",
        "details": {"label": "hello"},
        "settings": {
            "language": "javascript",
            "source_visibility": "open",
            "license": "mit",
            "network_access": "isolated",
            "pipeline_enabled": True,
        },
    }


def test_what_the_server_refuses_is_on_standard_error_and_in_the_exit_status(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/algorithms/ana", {"error": {"code": 1002, "message": "ana has that already"}}, 409)
    done = run("algo", "create", "hello")
    assert done.exit_code == 1
    assert done.stderr == "constellation: ana has that already\n"
    assert done.stdout == ""


def test_a_version_is_published(run: Run, platform: Platform) -> None:
    made = algorithm(version_info={"semantic_version": "1.0.0"})
    platform.on("GET /v1/algorithms/ana/hello/builds", {"results": [], "marker": None})
    platform.on("POST /v1/algorithms/ana/hello/versions", made)
    done = run("algo", "publish", "ana/hello", "--type", "major", "--public", "--notes", "n")
    assert "ana/hello/1.0.0" in done.stdout
    assert platform.body == {
        "settings": {"algorithm_callability": "public"},
        "version_info": {"version_type": "major", "release_notes": "n"},
    }
    run("algo", "publish", "hello")
    assert platform.body == {"settings": {}, "version_info": {"version_type": "minor"}}


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_publishing_waits_for_the_build_that_is_under_way(run: Run, platform: Platform, status: str) -> None:
    building = {"build_id": "b1", "status": "in-progress", "commit_sha": "c" * 40}
    platform.on("GET /v1/algorithms/ana/hello/builds", {"results": [building], "marker": None})
    platform.on("GET /admin/v1/builds/b1/log", finished_log("==> done", status, "no such package"))
    platform.on("POST /v1/algorithms/ana/hello/versions", algorithm(version_info={"semantic_version": "0.1.0"}))
    done = run("algo", "publish", "hello")
    if status == "succeeded":
        assert "ana/hello/0.1.0" in done.stdout
    else:
        assert done.exit_code == 1
        assert "no such package" in done.stderr
        assert done.stdout == ""


def test_an_algorithm_is_shown_with_its_versions(run: Run, platform: Platform) -> None:
    platform.on("GET /v1/algorithms/ana/hello", algorithm())
    version = algorithm(version_info={"semantic_version": "0.1.0", "git_hash": "c" * 40}, build={})
    platform.on("GET /v1/algorithms/ana/hello/versions", {"results": [version], "marker": None})
    shown = run("algo", "show", "hello").stdout
    assert "python3-1" in shown
    assert f"0.1.0\tprivate\t{'c' * 40}\t" in shown
    assert json.loads(run("algo", "show", "hello", "--json").stdout) == {**algorithm(), "versions": [version]}


class TestCall:
    """`constellation algo call`"""

    @pytest.fixture(autouse=True)
    def _answered(self, platform: Platform) -> None:
        self.answer(platform, "hi", "text")

    @staticmethod
    def answer(platform: Platform, result: Any, kind: str, **metadata: Any) -> None:
        document = {"result": result, "metadata": {"content_type": kind, "duration": 0.1, **metadata}}
        platform.on("POST /v1/algo/ana/hello", document)

    @pytest.mark.parametrize(
        ("arguments", "media_type", "content"),
        [
            (["--text", "h\u00e9"], "text/plain", "h\u00e9".encode()),
            (["--json", '{"a": 1}'], "application/json", b'{"a":1}'),
            (["--file", "in.json"], "application/json", b"[1]"),
            (["--file", "in.txt"], "text/plain", b"words"),
            (["--file", "in.png"], "application/octet-stream", b"\x89"),
        ],
    )
    def test_the_input_says_its_kind(
        self, run: Run, platform: Platform, tmp_path: Path, arguments: list[str], media_type: str, content: bytes
    ) -> None:
        for name, data in {"in.json": b"[1]", "in.txt": b"words", "in.png": b"\x89"}.items():
            (tmp_path / name).write_bytes(data)
        done = run("algo", "call", "ana/hello", *arguments)
        assert (done.exit_code, done.stdout) == (0, "hi\n")
        assert platform.requests[0].headers["content-type"] == media_type
        assert platform.requests[0].content == content

    def test_json_is_printed_as_json(self, run: Run, platform: Platform) -> None:
        self.answer(platform, {"a": ["\u00e9", None]}, "json")
        assert run("algo", "call", "hello", "--text", "x").stdout == '{"a": ["\u00e9", null]}\n'

    def test_bytes_are_bytes(self, run: Run, platform: Platform, tmp_path: Path) -> None:
        self.answer(platform, base64.b64encode(b"\x00\xff\n").decode(), "binary")
        assert run("algo", "call", "hello", "--text", "x").stdout_bytes == b"\x00\xff\n"
        assert run("algo", "call", "hello", "--text", "x", "-o", "out.bin").stdout == ""
        assert (tmp_path / "out.bin").read_bytes() == b"\x00\xff\n"

    def test_what_the_algorithm_printed_is_kept_apart_from_its_result(self, run: Run, platform: Platform) -> None:
        self.answer(platform, "hi", "text", stdout="printed\n")
        done = run("algo", "call", "hello", "--text", "x", "--stdout", "--timeout", "5")
        assert (done.stdout, done.stderr) == ("hi\n", "printed\n")
        assert dict(platform.requests[0].url.params) == {"timeout": "5", "stdout": "true"}

    def test_an_error_of_the_algorithm_is_a_failure_with_its_trace(self, run: Run, platform: Platform) -> None:
        error = {"message": "no good", "error_type": "InputError", "stacktrace": "File x, line 1\n"}
        platform.on("POST /v1/algo/ana/hello", {"error": error, "metadata": {"duration": 0.1}})
        done = run("algo", "call", "hello", "--text", "x")
        assert done.exit_code == 1
        assert done.stderr == "File x, line 1\nconstellation: InputError: no good\n"

    @pytest.mark.parametrize(
        "arguments", [[], ["--text", "a", "--json", "1"], ["--json", "{"], ["--file", "missing.txt"]]
    )
    def test_without_one_input_nothing_is_called(self, run: Run, platform: Platform, arguments: list[str]) -> None:
        done = run("algo", "call", "hello", *arguments)
        assert done.exit_code == 1
        assert done.stderr.startswith("constellation: ")
        assert platform.requests == []


def test_the_log_of_the_newest_build_is_shown(run: Run, platform: Platform) -> None:
    newest = {"build_id": "b1", "status": "succeeded", "commit_sha": "c" * 40}
    platform.on("GET /v1/algorithms/ana/hello/builds", {"results": [newest], "marker": None})
    platform.on("GET /admin/v1/builds/b1/log", finished_log("one\ntwo\n"))
    assert run("algo", "logs", "hello").stdout == "one\ntwo\n"
    assert json.loads(run("algo", "logs", "hello", "--json").stdout)["text"] == "one\ntwo\n"


def test_the_log_of_a_failed_build_ends_in_failure(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/builds/b1/log", finished_log("one\n", "failed", "no such package"))
    done = run("algo", "logs", "hello", "--build", "b1")
    assert (done.exit_code, done.stdout) == (1, "one\n")
    assert "build b1 failed: no such package" in done.stderr


def test_calls_that_failed_are_listed(run: Run, platform: Platform) -> None:
    entry = {"request_id": "req-1", "billable_to": "bob", "error_type": "InputError", "error": "no good"}
    platform.on("GET /v1/algorithms/ana/hello/errors", [entry])
    assert run("algo", "logs", "hello", "--errors").stdout.splitlines()[1] == "req-1\tbob\tInputError\tno good"


def test_an_algorithm_that_was_never_built_has_no_log(run: Run, platform: Platform) -> None:
    platform.on("GET /v1/algorithms/ana/hello/builds", {"results": [], "marker": None})
    assert "was not built yet" in run("algo", "logs", "hello").stderr


class TestPush:
    """`constellation algo push`, to a repository that git finds on this machine."""

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repository = served_repository(tmp_path / "git" / "ana" / "hello.git", {"a": "0"})
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path}/git/.insteadOf")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"{URL}/git/")

    def builds(self, platform: Platform, status: str = "succeeded", reason: str | None = None) -> None:
        """The platform builds whatever `master` is."""

        class Builds(httpx.SyncByteStream):
            def __init__(self, repository: Path) -> None:
                self.repository = repository

            def __iter__(self) -> Iterator[bytes]:
                head = commits_of(self.repository)[0]
                found = {"build_id": "b1", "status": "in-progress", "commit_sha": head}
                yield json.dumps({"results": [found], "marker": None}).encode()

        platform.on("GET /v1/algorithms/ana/hello", algorithm())
        platform.answers["GET /v1/algorithms/ana/hello/builds"] = httpx.Response(200, stream=Builds(self.repository))
        platform.on("GET /admin/v1/builds/b1/log", finished_log("==> building\n", status, reason))

    def test_a_folder_is_pushed_and_its_build_is_shown(self, run: Run, platform: Platform, tmp_path: Path) -> None:
        self.builds(platform)
        write(tmp_path / "mine", {"a": "1", "algorithmia.conf": '{"username": "ana", "algoname": "hello"}'})
        done = run("algo", "push", "mine", "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "succeeded"
        assert "==> building" in done.stderr

    def test_a_build_that_fails_is_a_failure(self, run: Run, platform: Platform, tmp_path: Path) -> None:
        self.builds(platform, "failed", "no such package")
        write(tmp_path / "mine", {"a": "1"})
        done = run("algo", "push", "mine", "-a", "hello")
        assert done.exit_code == 1
        assert "no such package" in done.stderr
        assert done.stdout == ""

    def test_nobody_has_to_wait(self, run: Run, platform: Platform, tmp_path: Path) -> None:
        self.builds(platform)
        write(tmp_path / "mine", {"a": "1"})
        done = run("algo", "push", "mine", "-a", "hello", "--no-wait", "--json")
        assert json.loads(done.stdout)["status"] == "in-progress"
        assert not any(request.url.path.endswith("/log") for request in platform.requests)

    @pytest.mark.parametrize("configuration", [None, "{", "[]", '{"username": "ana"}'])
    def test_it_must_be_known_which_algorithm_it_is(
        self, run: Run, platform: Platform, tmp_path: Path, configuration: str | None
    ) -> None:
        files = {"a": "1"} | ({} if configuration is None else {"algorithmia.conf": configuration})
        write(tmp_path / "mine", files)
        done = run("algo", "push", "mine")
        assert done.exit_code == 1
        assert "--algorithm OWNER/NAME" in done.stderr
        assert platform.requests == []

    def test_an_algorithm_that_is_not_there_is_not_pushed_to(
        self, run: Run, platform: Platform, tmp_path: Path
    ) -> None:
        platform.on("GET /v1/algorithms/ana/hello", {"error": "No such algorithm"}, 404)
        write(tmp_path / "mine", {"a": "1"})
        assert run("algo", "push", "mine", "-a", "hello").stderr == "constellation: No such algorithm\n"


def test_no_command_shows_the_keys_it_uses(run: Run, platform: Platform) -> None:
    for arguments in (["algo", "ls"], ["worker", "ls"], ["audit"], ["key", "ls"], ["algo", "logs", "hello"]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert KEY not in done.output
        assert ADMIN_KEY not in done.output
    assert platform.keys == {KEY, ADMIN_KEY}


def test_a_platform_that_does_not_answer_is_named(run: Run, tmp_path: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    done = CliRunner().invoke(app, ["algo", "ls"], obj=httpx.MockTransport(refuse))
    assert done.exit_code == 1
    assert f"{URL} cannot be reached" in done.stderr
