"""The commands, from the line that is typed to the requests that are made and what is printed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from constellation.cli import app
from tests.unit.cli.git import commits_of, served_repository, write

URL = "http://platform.example"
KEY, ADMIN_KEY = "simAAAA1111bbbb2222CCCC33331", "simZZZZ1111bbbb2222CCCC33331"


class Platform:
    """Answers by method and path, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, httpx.Response] = {}
        self.requests: list[httpx.Request] = []

    def on(self, line: str, document: Any, status: int = 200) -> None:
        self.answers[line] = httpx.Response(status, json=document)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        line = f"{request.method} {request.url.path}"
        unknown = httpx.Response(404, json={"detail": f"there is no {line} here"})
        return self.answers.get(line, unknown)

    @property
    def keys(self) -> set[str]:
        return {request.headers["authorization"].removeprefix("Simple ") for request in self.requests}

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


Run = Callable[..., Any]


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as an administrator whose platform runs here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CONSTELLATION_URL", "CONSTELLATION_API_KEY", "CONSTELLATION_ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".constellation").mkdir()
    document = {"url": URL, "username": "ana", "api_key": KEY, "admin_api_key": ADMIN_KEY}
    (tmp_path / ".constellation" / "admin.json").write_text(json.dumps(document))

    def runner(*arguments: str, input: str | None = None) -> Any:
        return CliRunner().invoke(app, arguments, obj=httpx.MockTransport(platform), input=input)

    return runner


def algorithm(**more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "name": "hello",
        "owner": "ana",
        "details": {"label": "Hello"},
        "settings": {"language": "python3-1", "network_access": "full", "algorithm_callability": "private"},
        "source": {"repository_https_url": f"{URL}/git/ana/hello.git"},
        **more,
    }


def finished_log(text: str, status: str = "succeeded", reason: str | None = None) -> dict[str, Any]:
    return {
        "build_id": "b1",
        "text": text,
        "offset": 0,
        "next_offset": len(text),
        "finished": True,
        "status": status,
        "reason": reason,
    }


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


def test_workers_are_listed_with_the_administrators_key(run: Run, platform: Platform) -> None:
    row = {
        "id": "w1",
        "name": "node",
        "state": "ready",
        "languages": ["python3", "pipe"],
        "capacity": {"replicas": 64, "memory_mib": 1000, "gpus": 4},
        "used": {"replicas": 2, "memory_mib": 500, "gpus": 1},
        "version": "1",
    }
    platform.on("GET /admin/v1/workers", {"items": [row], "cursor": None})
    assert run("worker", "ls").stdout.splitlines()[1] == "w1\tnode\tready\t2\t64\t500\t1000\t1\t4\tpython3, pipe\t1"
    assert platform.keys == {ADMIN_KEY}


def test_a_worker_is_drained_and_taken_back(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/workers/w1/drain", {"id": "w1", "state": "draining"})
    platform.on("DELETE /admin/v1/workers/w1/drain", {"id": "w1", "state": "ready"})
    assert "draining" in run("worker", "drain", "w1").stdout
    assert "ready" in run("worker", "drain", "w1", "--undo").stdout
    assert run("worker", "drain", "w2").exit_code == 1


def test_a_worker_token_comes_with_the_command_that_uses_it(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/mandates", {"id": "m", "key": "the-token"}, 201)
    done = run("worker", "token", "--uses", "3", "--note", "rack 4")
    line = f"CONSTELLATION_FAKTS_URL={URL} CONSTELLATION_JOIN_TOKEN=the-token constellation serve worker"
    assert line in done.stdout
    assert platform.body == {
        "kind": "service",
        "identifiers": ["constellation.worker"],
        "uses": 3,
        "note": "rack 4",
    }
    assert done.stderr == ""


def test_a_token_for_an_address_of_this_machine_only_is_said_to_be_one(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/mandates", {"id": "m", "key": "the-token"}, 201)
    done = run("worker", "token", "--url", "http://127.0.0.1:8000", "--api-key", ADMIN_KEY)
    assert "an address of this machine only" in done.stderr


def test_a_key_allows_what_is_said_and_is_shown_once(run: Run, platform: Platform) -> None:
    made = {"id": "k1", "owner_name": "bob", "api_key": "simNEW", "api_key_mask": "sim***"}
    platform.on("POST /v1/users/bob/keys", made, 201)
    done = run("key", "create", "laptop", "--owner", "bob", "--call", "ana/hello", "--call", "lab/*", "--data-write")
    assert "simNEW" in done.stdout
    assert platform.body == {
        "key_label": "laptop",
        "key_type": "AlgorithmKey",
        "permissions": {
            "allow_algo": True,
            "algo_acl": ["algo://ana/hello/*", "algo://lab/*"],
            "allow_algo_management": False,
            "allow_data": True,
            "allow_data_write": True,
        },
        "expires_at": None,
    }


def test_keys_are_listed_and_revoked_for_whoever_is_named(run: Run, platform: Platform) -> None:
    row = {"id": "k1", "owner_name": "lab", "key_label": "ci", "key_type": "AlgorithmKey", "api_key_mask": "sim***"}
    for path in ("/v1/users/ana/keys", "/v1/organizations/lab/keys", "/admin/v1/keys"):
        platform.on(f"GET {path}", {"results": [row], "marker": None})
    for arguments in ([], ["--org", "lab"], ["--all"]):
        assert run("key", "ls", *arguments).stdout.splitlines()[1] == "k1\tlab\tci\tAlgorithmKey\tsim***\t"
    platform.answers["DELETE /v1/organizations/lab/keys/k1"] = httpx.Response(204)
    assert run("key", "revoke", "k1", "--org", "lab").exit_code == 0
    assert run("key", "ls", "--org", "lab", "--owner", "ana").exit_code == 1


def test_a_user_is_added_with_a_password_that_is_never_shown(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/users", {"id": "u1", "username": "bob"}, 201)
    platform.on("PATCH /admin/v1/users/bob", {"name": "bob"})
    arguments = ["user", "create", "bob", "--email", "b@example.org", "--admin", "--password"]
    done = run(*arguments, input="open sesame\nopen sesame\n")
    assert done.exit_code == 0
    assert "sesame" not in done.output
    assert json.loads(platform.requests[0].content) == {
        "username": "bob",
        "email": "b@example.org",
        "fullname": None,
    }
    assert platform.body == {"staff": True, "password": "open sesame"}


def test_users_are_listed(run: Run, platform: Platform) -> None:
    row = {"name": "bob", "email": "b@example.org", "staff": True, "session_limit": 80, "created_at": "2026"}
    platform.on("GET /admin/v1/users", {"items": [row], "cursor": None})
    assert run("user", "ls").stdout.splitlines()[1] == "bob\tb@example.org\t\tyes\t80\t2026"


def test_an_organization_is_added_and_gets_members(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/organizations", {"id": "o1", "org_name": "lab"}, 201)
    assert run("org", "create", "lab", "--email", "l@example.org", "--label", "The lab").exit_code == 0
    assert platform.body == {
        "org_name": "lab",
        "org_label": "The lab",
        "org_contact_name": "lab",
        "org_email": "l@example.org",
    }
    platform.answers["PUT /v1/organizations/lab/members/bob"] = httpx.Response(201)
    assert json.loads(run("org", "members", "add", "lab", "bob", "--role", "owner", "--json").stdout)["added"]
    assert platform.body == {"role": "owner"}
    members = {"results": [{"username": "bob", "role": "owner"}], "marker": None}
    platform.on("GET /v1/organizations/lab/members", members)
    assert run("org", "members", "ls", "lab").stdout == "USER\tROLE\nbob\towner\n"


def test_organizations_are_listed(run: Run, platform: Platform) -> None:
    row = {"name": "lab", "label": "The lab", "email": "l@example.org", "created_at": "2026"}
    platform.on("GET /admin/v1/organizations", {"items": [row], "cursor": None})
    assert run("org", "ls").stdout.splitlines()[1] == "lab\tThe lab\tl@example.org\t2026"


def test_acts_are_listed_as_far_as_they_are_asked_for(run: Run, platform: Platform) -> None:
    rows = [{"at": str(n), "actor": "ana", "action": "x", "subject": "s", "outcome": "done"} for n in range(3)]
    platform.on("GET /admin/v1/audit", {"results": rows, "cursor": "more"})
    done = run("audit", "--actor", "ana", "--limit", "2", "--json")
    assert json.loads(done.stdout) == rows[:2]
    assert platform.requests[0].url.params["actor"] == "ana"
    assert len(platform.requests) == 1


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
