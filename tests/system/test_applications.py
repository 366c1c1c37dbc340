"""An application's life on a real platform: two versions, switched under load and back, with the command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.author import Author
from tests.support.crowd import Crowd
from tests.support.deployment import COMMAND, Up

SECONDS = 120.0
ADDRESS = "applications/digits"
DEFAULT = {"version": 0, "input": None}
DIGITS = """
import time
def apply(input):
    if input == "slow":
        time.sleep(1.5)
    if input == "hard":
        raise ValueError("cannot read this")
    time.sleep(0.005)
    return {"version": VERSION, "input": input}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("applications")) as running:
        yield running


@pytest.fixture(scope="module")
def author(platform: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        yield author


class Administrator:
    """Somebody at a terminal."""

    def __init__(self, platform: Up) -> None:
        self._platform = platform

    def run(self, *arguments: str) -> Any:
        """A command of `constellation application`; the document that it prints."""
        line = [str(COMMAND), "application", *arguments, "--json", "--data-dir", str(self._platform.data_dir)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ready(self) -> list[int]:
        """How many replicas of each version are ready."""
        [found] = self._platform.listed("applications")
        return [one["running"]["ready"] for one in found["versions"]]


def default_reason(answer: httpx.Response) -> str:
    """Why the default answered."""
    assert (answer.status_code, answer.json()["result"]) == (200, DEFAULT), answer.text
    reason: str = answer.json()["metadata"]["default_reason"]
    return reason


def test_versions_are_switched_under_load_and_the_default_answers_where_they_do_not(
    platform: Up, author: Author
) -> None:
    terminal = Administrator(platform)
    first = author.deploy("digits", DIGITS.replace("VERSION", "1"))
    second = author.push("digits", {"src/digits.py": DIGITS.replace("VERSION", "2")})
    assert author.build("digits", second)["status"] == "succeeded"
    one, two = (f"{author.username}/digits/{commit}" for commit in (first, second))

    terminal.run("create", "digits", "--default", json.dumps(DEFAULT))
    assert "no version is linked" in default_reason(author.call(ADDRESS, 1))
    assert terminal.run("link", "digits", one)["current"] == one
    terminal.run("link", "digits", two)
    assert author.result(ADDRESS, 1)["version"] == 1

    with Crowd(platform.url, author.key, ADDRESS) as crowd:

        def answered_by(version: int) -> None:
            platform.wait_until(
                lambda: crowd.versions_since(time.monotonic() - 0.5) == {version}, f"answer with {version}", SECONDS
            )

        answered_by(1)
        assert terminal.run("set-version", "digits", two)["current"] == two
        answered_by(2)
        back = author.http.post(
            f"{platform.url}/admin/v1/applications/digits/set-version",
            json={"algorithm": one},
            headers={"authorization": f"Simple {platform.admin['admin_api_key']}"},
        )
        assert (back.status_code, back.json()["current"], back.json()["switching_to"]) == (200, one, None)
        answered_by(1)
        assert terminal.ready() == [1, 1], "both run, so going back deployed nothing"
        stopped = terminal.run("stop-inactive", "digits")
        assert [version["state"] for version in stopped["versions"]] == ["ready", "stopped"]
        platform.wait_until(lambda: terminal.ready() == [1, 0], "end what is not current", SECONDS)
        assert terminal.run("set-version", "digits", two)["current"] == two, "it waited until that was started"
        answered_by(2)
        terminal.run("set-replicas", "digits", two, "2")
        assert terminal.ready() == [1, 2]
    assert crowd.errors == [], "no call was lost"
    assert len(crowd.oks) > 100

    assert default_reason(author.call(ADDRESS, "hard")) == "the algorithm failed: cannot read this"
    terminal.run("edit", "digits", "--latency-goal", "400")
    answer = author.call(ADDRESS, "slow")
    assert default_reason(answer) == "no answer within the latency goal of 400 ms"
    assert author.result(ADDRESS, "quick")["version"] == 2

    def recorded() -> bool:
        calls = {one["request_id"]: one for one in platform.listed("calls")}
        found = calls.get(answer.headers["x-request-id"])
        return found is not None and found["status"] == 200 and found["duration_seconds"] > 1

    platform.wait_until(recorded, "record the real call when it ends", SECONDS)
    terminal.run("unlink", "digits", one)
    terminal.run("rm", "digits")
    assert author.call(ADDRESS, 1).status_code == 404
    platform.wait_until(
        lambda: all(one["actual"] == "stopped" for one in platform.listed("replicas")), "end all replicas", SECONDS
    )
