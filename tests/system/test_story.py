"""From `git push` to an answered call, with git and HTTP alone, on every way of running the platform."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.author import Author
from tests.support.deployment import Deployment
from tests.support.eventually import UNASKED

ECHO = "def apply(input):\n    print('received', type(input).__name__)\n    return input\n"
SHOUT = "exports.apply = (input, callback) => callback(null, String(input).toUpperCase());\n"
MISBEHAVE = """
import os, sys, time
def apply(input):
    if "exit" in input:
        os._exit(input["exit"])
    if "sleep" in input:
        time.sleep(input["sleep"])
    if "raise" in input:
        raise ValueError(input["raise"])
    if "nan" in input:
        return float("nan")
    if "print" in input:
        line = "x" * 1023 + "\\n"
        for _ in range(input["print"]):
            sys.stdout.write(line)
    if "eat" in input:
        return len(bytearray(input["eat"]))
    if "object" in input:
        return object()
    return "fine"
"""
CHAIN = """
import Algorithmia
client = Algorithmia.client()
def apply(input):
    return client.algo(input["algo"]).pipe(input["input"]).result
"""
LEDGER = """
import Algorithmia
client = Algorithmia.client()
def apply(input):
    words = client.file(input["read"]).getString()
    client.file("data://.session/note").put(words.upper())
    client.file("data://.algo/perm/last").put(words)
    if "write" in input:
        client.file(input["write"]).put(client.file("data://.session/note").getString())
    return words
"""


@pytest.fixture(scope="module")
def author(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    admin = deployment.admin
    with Author(deployment.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield author


@pytest.fixture(scope="module")
def echo(author: Author) -> str:
    """The commit of a published algorithm `echo`."""
    return author.deploy("echo", ECHO)


@pytest.fixture(scope="module")
def misbehave(author: Author) -> str:
    return author.deploy("misbehave", MISBEHAVE, scaling={"memory_mib": 256, "max_replicas": 1})


def test_a_pushed_algorithm_is_called_by_every_form_of_its_reference(author: Author, echo: str) -> None:
    forms = ("echo", "echo/0.1.0", "echo/0.1", "echo/0.1.*", "echo/latest", "echo/", f"echo/{echo}")
    for form in forms:
        assert author.result(f"{author.username}/{form}", {"a": [1, None]}) == {"a": [1, None]}, form
    assert author.result(f"algo://{author.username}/echo", 1) == 1


def test_the_owner_sees_what_the_algorithm_prints(author: Author, echo: str) -> None:
    answer = author.call("echo", {}, stdout="true").json()
    assert "received dict" in answer["metadata"]["stdout"]
    assert "stdout" not in author.call("echo", {}).json()["metadata"]


def test_a_new_version_takes_over_and_the_old_one_stays_callable(author: Author) -> None:
    author.deploy("newer", ECHO)
    commit = author.push("newer", {"src/newer.py": "def apply(input):\n    return ['second', input]\n"})
    assert author.build("newer", commit)["status"] == "succeeded"
    assert author.publish("newer") == "0.2.0"
    assert author.result("newer", 1) == ["second", 1]
    assert author.result(f"{author.username}/newer/0.1.0", 1) == 1


def test_a_push_that_rewrites_history_is_refused_and_loses_nothing(author: Author, echo: str) -> None:
    work = author.clone("echo")
    before = author.git("rev-parse", "HEAD", cwd=work)
    author.git("commit", "-q", "--amend", "--allow-empty", "-m", "another past", cwd=work)
    said = author.git("push", "--force", "origin", "HEAD:master", cwd=work, ok=False)
    assert "non-fast-forward" in said or "denied" in said or "rejected" in said
    assert author.git("rev-parse", "HEAD", cwd=author.clone("echo")) == before


def test_an_algorithm_calls_another_one_as_its_caller(author: Author, echo: str) -> None:
    author.deploy("chain", CHAIN, requirements="algorithmia>=2.0,<3.0\nsix\n")
    value = {"algo": f"{author.username}/echo/0.1.0", "input": {"deep": [1]}}
    assert author.result("chain", value) == {"deep": [1]}


def test_an_algorithm_reads_and_writes_data_for_its_caller(deployment: Deployment, author: Author) -> None:
    author.deploy("ledger", LEDGER, requirements="algorithmia>=2.0,<3.0\nsix\n", pipeline_enabled=False)
    assert author.http.post("/v1/data/.my", json={"name": "ledger"}).json() == {
        "result": f"data://{author.username}/ledger"
    }
    words = "of mice, ünï \u260e".encode()
    assert author.http.put("/v1/data/.my/ledger/in.txt", content=words).status_code == 200
    places = {"read": "data://.my/ledger/in.txt", "write": "data://.my/ledger/out.txt"}
    assert author.result("ledger", places).encode() == words
    assert author.http.get("/v1/data/.my/ledger/out.txt").text == words.decode().upper()
    # Others, whose key sees no data, have it read what its owner keeps for it, and data of their own with it.
    stranger, _ = _stranger(deployment)
    place = {"read": f"data://{author.username}/ledger/in.txt"}
    assert author.call(f"{author.username}/ledger", place, key=stranger).json()["result"].encode() == words
    own = f"/v1/data/.algo/{author.username}/ledger/perm/last"
    assert author.http.get(own).content == words
    headers = {"authorization": f"Simple {stranger}"}
    assert author.http.get(own, headers=headers).status_code == 403
    assert author.http.get(f"/v1/data/{author.username}/ledger/in.txt", headers=headers).status_code == 404


def test_another_language_runs_by_the_pipe_protocol(author: Author) -> None:
    author.create("shout", language="javascript")
    commit = author.push("shout", {"src/shout.js": SHOUT})
    build = author.build("shout", commit)
    assert build["status"] == "succeeded", build["log"]
    author.publish("shout")
    assert author.result("shout", "hello") == "HELLO"


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ({"raise": "boom"}, "AlgorithmError", "boom"),
        ({"exit": 3}, "SystemExit", "exited with code 3"),
        ({"nan": 1}, "AlgorithmError", "NaN"),
        ({"object": 1}, "AlgorithmError", "JSON"),
        ({"eat": 1 << 30}, "OutOfMemoryError", "memory"),
    ],
)
def test_what_goes_wrong_inside_is_told_and_the_next_call_works(
    author: Author, misbehave: str, value: dict[str, object], kind: str, words: str
) -> None:
    error = author.error("misbehave", value)
    assert error["error_type"] == kind
    assert words in error["message"]
    assert author.result("misbehave", {}) == "fine"


def test_a_call_that_hangs_ends_at_its_timeout_and_the_next_one_works(author: Author, misbehave: str) -> None:
    assert author.result("misbehave", {}) == "fine"
    error = author.error("misbehave", {"sleep": 300}, timeout=2)
    assert error["error_type"] == "TimeoutError"
    assert author.result("misbehave", {}) == "fine"


def test_output_without_end_is_cut_not_kept(author: Author, misbehave: str) -> None:
    answer = author.call("misbehave", {"print": 100 << 10}, stdout="true").json()
    assert answer["result"] == "fine"
    assert 0 < len(answer["metadata"]["stdout"]) < 4 << 20


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("no_entry", {"src/other.py": ECHO}, "src/no_entry.py"),
        ("no_apply", {"src/no_apply.py": "x = 1\n"}, "apply"),
        (
            "no_such",
            {"src/no_such.py": ECHO, "requirements.txt": "no-such-package-a7f3==1.0\n"},
            "no-such-package-a7f3",
        ),
        ("no_import", {"src/no_import.py": "import nothing_like_it\n"}, "nothing_like_it"),
    ],
)
def test_a_push_that_cannot_be_built_says_why(author: Author, name: str, files: dict[str, str], words: str) -> None:
    author.create(name)
    work = author.clone(name)
    (work / "src" / f"{name}.py").unlink()
    author.git("commit", "-q", "-am", "remove", cwd=work)
    author.git("push", "-q", "origin", "HEAD:refs/heads/other", cwd=work)
    author.git("checkout", "-q", "-B", "master", "HEAD", cwd=work)
    for path, text in files.items():
        (work / path).write_text(text)
    author.git("add", "-A", cwd=work)
    author.git("commit", "-q", "-m", "broken", cwd=work)
    author.git("push", "-q", "origin", "HEAD:master", cwd=work)
    build = author.build(name, author.git("rev-parse", "HEAD", cwd=work))
    assert build["status"] == "failed"
    assert words in build["log"]


def test_loading_that_fails_is_told_to_every_caller(author: Author) -> None:
    source = "def load():\n    raise RuntimeError('no model here')\ndef apply(input):\n    return input\n"
    author.deploy("unloadable", source)
    for _ in range(2):
        error = author.error("unloadable", 1)
        assert error["error_type"] == "LoadingError"
        assert "no model here" in error["message"]


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [(b"{", "application/json", 400), (b"x", "image/png", 415), (b"x" * (11 << 20), "text/plain", 413)],
)
def test_a_body_that_does_not_fit_is_refused_with_words(
    author: Author, echo: str, content: bytes, media: str, status: int
) -> None:
    ref = f"/v1/algo/{author.username}/echo/0.1.0"
    answer = author.http.post(ref, content=content, headers={"content-type": media})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert author.result(f"{author.username}/echo/0.1.0", "alive") == "alive"


def test_strangers_do_not_see_that_a_private_algorithm_exists(
    deployment: Deployment, author: Author, tmp_path: Path
) -> None:
    author.create("hidden")
    commit = author.push("hidden", {"src/hidden.py": ECHO})
    assert author.build("hidden", commit)["status"] == "succeeded"
    author.publish("hidden", callability="private")
    stranger, key_id = _stranger(deployment)
    for ref in ("hidden", "hidden/0.1.0", f"hidden/{commit}"):
        answer = author.call(f"{author.username}/{ref}", 1, key=stranger)
        assert answer.status_code == 404
        assert "not found" in answer.json()["error"]["message"]
    assert author.result(f"{author.username}/hidden/latestPrivate", 1) == 1
    admin = {"authorization": f"Simple {deployment.admin['admin_api_key']}"}
    assert author.http.delete(f"/admin/v1/keys/{key_id}", headers=admin).status_code == 204
    deployment.wait_until(
        lambda: author.call("echo/0.1.0", 1, key=stranger).status_code == 401, "refuse the revoked key", UNASKED
    )


def test_replicas_go_when_nobody_calls_and_come_back_with_the_next_call(
    deployment: Deployment, author: Author
) -> None:
    author.deploy("brief", ECHO, scaling={"idle_seconds": 1})
    assert author.result("brief", 1) == 1

    def running() -> int:
        replicas = deployment.listed("replicas")
        return sum(r["algorithm"].endswith("/brief") and r["actual"] not in ("stopped", "failed") for r in replicas)

    deployment.wait_until(lambda: running() == 0, "stop idle replicas")
    assert author.result("brief", 2) == 2


def _stranger(deployment: Deployment) -> tuple[str, str]:
    """The key of a new user, and its id."""
    name = f"stranger_{time.monotonic_ns() % 10**9}"
    headers = {"authorization": f"Simple {deployment.admin['admin_api_key']}"}
    with httpx.Client(base_url=deployment.url, headers=headers, timeout=120) as admin:
        fields = {"username": name, "email": f"{name}@example.org", "fullname": "A Stranger"}
        assert admin.post("/v1/users", json=fields).status_code in (200, 201)
        made = admin.post(
            "/admin/v1/keys", json={"owner": name, "label": "calls", "permissions": {"allow_algo": True}}
        )
        assert made.status_code == 201, made.text
        return made.json()["api_key"], made.json()["id"]
